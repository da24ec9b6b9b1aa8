//! What all processes on one database have to agree upon (`model::agreement`), kept in the database by the process that leads and compared by
//! all that may lead: a process with another object storage would not find what the others stored there.
//!
//! The storage carries a mark, an object of its own, whose id the database names. So a storage that is moved with all its objects is the
//! same, wherever it is. (That all have the same secret key is seen by `vault::keys`.)

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    error::{CliError, Kind, OrFail, Result},
    settings::OF_ONE_PROCESS,
};
use crate::{
    api::config::ShownSetting,
    blobs::{BlobError, Blobs, keys},
    model::agreement::{Belonging, LEADER_SETTINGS, STORAGE, SharedSettings, StorageMark, belonging, differences},
    store::{Store, StoreError},
};

/// How long a start, or a takeover, waits for an object storage that does not answer. While it does not answer, nothing is stored there.
const PATIENCE: Duration = Duration::from_secs(5);
/// From one look to the next, until it is known.
const PAUSE: Duration = Duration::from_secs(5);
/// Longer than any mark.
const MAX_MARK_BYTES: u64 = 64;

/// What this process has to agree upon with the others.
#[derive(Debug, Clone)]
pub struct Agreement {
    store: Store,
    blobs: Blobs,
    settings: Arc<SharedSettings>,
    /// The mark of `blobs`, once it was seen to be the database's.
    agreed: Arc<OnceLock<String>>,
}

/// What it is to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It says what holds.
    Leads,
    Waits,
}

/// Why nothing can be said at this moment.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("the database can't be used")]
    Store(#[from] StoreError),
    #[error("the object storage can't be used")]
    Blobs(#[from] BlobError),
    #[error("the object storage does not answer")]
    Silent,
    #[error("the setting `{STORAGE}` in the database is damaged")]
    Damaged(#[source] serde_json::Error),
}

enum Look {
    Agreed,
    /// There is nothing to compare with yet: nobody has led.
    Open,
    /// It must not go on.
    Refused(CliError),
}

impl Agreement {
    /// Of a process with these settings.
    pub fn new(store: Store, blobs: Blobs, settings: &[ShownSetting]) -> Self {
        let shared = settings.iter().filter(|setting| !OF_ONE_PROCESS.contains(&setting.key));
        let settings = shared.map(|setting| (setting.key.to_owned(), setting.value.clone())).collect();
        Self { store, blobs, settings: Arc::new(settings), agreed: Arc::default() }
    }

    /// Compares, and if it leads says what holds.
    ///
    /// # Errors
    /// If this process has another storage than the database names. A storage, or database, that does not answer is none: see
    /// [`keep`](Self::keep).
    pub async fn reach(&self, role: Role) -> Result<()> {
        match self.look(role).await {
            Ok(Look::Refused(refused)) => Err(refused),
            Ok(Look::Agreed | Look::Open) => Ok(()),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    storage = self.blobs.place(),
                    "whether the object storage is this database's is not known yet; it is asked again"
                );
                Ok(())
            }
        }
    }

    /// Compares again until it is known. Ends only if this process must not go on; why.
    pub async fn keep(&self, role: Role) -> CliError {
        loop {
            match self.look(role).await {
                Ok(Look::Refused(refused)) => return refused,
                Ok(Look::Agreed) => break,
                // What goes wrong was said at the start, and is by whoever needs it.
                Ok(Look::Open) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        if role == Role::Waits {
            self.compare_settings().await;
        }
        std::future::pending().await
    }

    /// Makes the storage of this process that of the database. Nobody leads meanwhile.
    ///
    /// # Errors
    /// If either can't be used.
    pub async fn adopt(&self) -> Result<()> {
        let failed = || format!("can't mark the object storage `{}`", self.blobs.place());
        let marked = self.marked().await.or_fail(Kind::Failed, failed)?;
        self.mark(marked).await.or_fail(Kind::Failed, failed)
    }

    async fn look(&self, role: Role) -> Result<Look, Unknown> {
        let ours = self.kept().await?;
        let marked = match self.agreed.get() {
            // It is the same object storage as long as the process lives.
            Some(agreed) => Some(agreed.clone()),
            None => self.marked().await?,
        };
        match (belonging(ours.as_ref(), marked.as_deref()), ours) {
            (Belonging::Another { is_marked }, Some(ours)) => return Ok(Look::Refused(self.refuse(is_marked, &ours))),
            (Belonging::Open, _) if role == Role::Waits => return Ok(Look::Open),
            _ => {}
        }
        if role == Role::Leads {
            self.put(LEADER_SETTINGS, &serde_json::to_vec(&*self.settings).unwrap_or_default()).await?;
            self.mark(marked.clone()).await?;
        }
        if let Some(marked) = marked {
            self.agreed.get_or_init(|| marked);
        }
        Ok(Look::Agreed)
    }

    fn refuse(&self, is_marked: bool, ours: &StorageMark) -> CliError {
        let (place, theirs) = (self.blobs.place(), &ours.place);
        let text = if place == theirs {
            format!(
                "the object storage `{place}` has lost the mark of this database, its object `{}`: was it emptied?",
                keys::MARK
            )
        } else {
            let what = if is_marked { "is another database's" } else { "is not that of this database" };
            format!("the object storage `{place}` {what}; this one's objects are in `{theirs}`, and would seem lost")
        };
        CliError::text(Kind::Refused, text).hint(
            "set AIRLOCK_STORAGE_URL (storage.url) as all servers on this database have it; if its objects were moved here, stop all servers \
             and run `airlock storage adopt`",
        )
    }

    /// Marks the storage, unless it is `marked`, and then names it in the database.
    async fn mark(&self, marked: Option<String>) -> Result<(), Unknown> {
        let id = if let Some(id) = marked {
            id
        } else {
            let id = Uuid::new_v4().simple().to_string();
            self.blobs.put(keys::MARK, Bytes::from(id.clone())).await?;
            id
        };
        let mark = StorageMark { id, place: self.blobs.place().to_owned() };
        self.put(STORAGE, &serde_json::to_vec(&mark).unwrap_or_default()).await
    }

    /// What stands in the storage.
    async fn marked(&self) -> Result<Option<String>, Unknown> {
        let read = timeout(PATIENCE, self.blobs.get_range(keys::MARK, 0..MAX_MARK_BYTES));
        let read = read.await.map_err(|_| Unknown::Silent)??;
        Ok(read.map(|id| String::from_utf8_lossy(&id).into_owned()))
    }

    /// What the database names.
    async fn kept(&self) -> Result<Option<StorageMark>, Unknown> {
        let kept = self.store.setting_get(STORAGE).await?;
        kept.map(|kept| serde_json::from_slice(&kept).map_err(Unknown::Damaged)).transpose()
    }

    /// Stores a setting, if it is another one by now.
    async fn put(&self, name: &str, value: &[u8]) -> Result<(), Unknown> {
        if self.store.setting_get(name).await?.as_deref() != Some(value) {
            self.store.setting_put(name, value).await?;
        }
        Ok(())
    }

    /// Says which settings would change when this process takes over. They may be on their way to all processes, so that nothing is refused.
    async fn compare_settings(&self) {
        let Ok(Some(leader)) = self.store.leader().await else { return };
        let Ok(Some(theirs)) = self.store.setting_get(LEADER_SETTINGS).await else { return };
        let differ = serde_json::from_slice(&theirs).map(|theirs| differences(&self.settings, &theirs));
        if let Ok(differ) = differ
            && !differ.is_empty()
        {
            tracing::warn!(
                settings = differ.join(", "),
                leader = leader.url,
                "settings are not those of the process that leads; they hold when this process leads: set them alike"
            );
        }
    }
}
