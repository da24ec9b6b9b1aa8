//! `airlock storage`.

use std::{path::Path, time::Duration};

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use super::{
    agreement::Agreement,
    error::{CliError, Kind, OrFail, Result},
    local::{self, LocalArgs},
    output::{Format, note},
    services::{DataDir, open_blobs},
};
use crate::{
    blobs::{BlobInfo, Blobs, keys},
    model::time::{Clock, Timestamp},
    store::{Inventory, MAX_PAGE, NamedBlob, Store},
};

/// Problems that are printed; all are counted.
const SHOWN: usize = 1_000;
/// Objects that are compared at a time.
const BATCH: usize = 1_000;
/// An object may be so much older than the row that will name it.
const IN_FLIGHT: Duration = Duration::from_hours(1);

#[derive(Debug, clap::Subcommand)]
pub enum StorageCommand {
    /// Find objects that no row names, and rows whose object is not there. Exits with 1 if there are any.
    ///
    /// A server may be running. An object counts as forgotten if it is older than an hour, and older than what runs now.
    Check {
        #[command(flatten)]
        local: LocalArgs,
        /// Have objects that no row names deleted, by the server (at once if it is running, else when it starts).
        #[arg(long)]
        repair: bool,
    },
    /// Take the object storage of the settings for the database's from now on: its objects were moved there, or are lost. No server may run.
    Adopt {
        #[command(flatten)]
        local: LocalArgs,
    },
}

impl StorageCommand {
    pub async fn run(self, format: Format) -> Result<()> {
        match self {
            Self::Check { local, repair } => Self::check(local, repair, format).await,
            Self::Adopt { local } => Self::adopt(local, format).await,
        }
    }

    async fn adopt(local: LocalArgs, format: Format) -> Result<()> {
        let (vault, config) = local.open_with_config().await?;
        // Of a file nobody else is told; of a server of databases everybody shows who leads.
        let data_dir = DataDir::lock(&local::folder(&config)?)?;
        let store = vault.store();
        if store.is_shared()
            && let Some(leader) = store.leader().await.or_fail(Kind::Failed, || "can't use the database".into())?
        {
            let text =
                format!("a server leads, at `{}`; it stores objects where the others would not find them", leader.url);
            return Err(CliError::text(Kind::Refused, text).hint("stop all servers, and try again"));
        }
        let blobs = open_blobs(&config, data_dir.path())?;
        Agreement::new(store.clone(), blobs.clone(), &config.shown).adopt().await?;
        format.object(&json!({"storage": blobs.place()}))?;
        note("`airlock storage check` says whether all objects are there");
        Ok(())
    }

    async fn check(local: LocalArgs, repair: bool, format: Format) -> Result<()> {
        let (vault, blobs) = local.open_with_blobs().await?;
        let scratch = tempfile::tempdir().or_fail(Kind::Failed, || "can't make a temporary folder".into())?;
        let found = Check::new(vault.store().clone(), blobs, repair).run(&scratch.path().join("inventory.db")).await?;
        found.tell(format)
    }
}

/// What a check found.
#[derive(Debug, Default)]
struct Found {
    /// Up to [`SHOWN`] problems, as they are printed.
    problems: Vec<Value>,
    /// Objects that rows name.
    named: i64,
    forgotten: u64,
    forgotten_bytes: u64,
    lost: u64,
    is_repaired: bool,
}

impl Found {
    fn forgotten(&mut self, object: &BlobInfo) {
        self.forgotten += 1;
        self.forgotten_bytes += object.size_bytes;
        let size = object.size_bytes;
        self.problem(json!({"problem": "no row names it", "object": object.key, "size_bytes": size}));
    }

    fn lost(&mut self, named: &NamedBlob, run: Option<Value>) {
        self.lost += 1;
        let mut problem = json!({"problem": "the object is not there", "object": named.blob, "kind": named.kind});
        if let Some(run) = run {
            problem["of"] = run;
            problem["task_id"] = named.task_id.as_str().into();
            problem["map_index"] = named.map_index.into();
        }
        self.problem(problem);
    }

    fn problem(&mut self, problem: Value) {
        if self.problems.len() < SHOWN {
            self.problems.push(problem);
        }
    }

    fn tell(self, format: Format) -> Result<()> {
        let columns = [
            ("problem", "/problem"),
            ("object", "/object"),
            ("size", "/size_bytes"),
            ("of", "/of"),
            ("task", "/task_id"),
            ("map_index", "/map_index"),
        ];
        format.list(&self.problems, &columns)?;
        note(&format!(
            "{} objects are named by rows; {} are not there; {} objects ({} bytes) are named by none",
            self.named, self.lost, self.forgotten, self.forgotten_bytes
        ));
        if self.is_repaired && self.forgotten > 0 {
            note("those that no row names are deleted by the server, within a minute if it is running");
        }
        let left = self.lost + if self.is_repaired { 0 } else { self.forgotten };
        if left == 0 {
            return Ok(());
        }
        let hint = if self.lost > 0 {
            "bring lost objects back from a backup (`airlock restore --help`), or clear or delete their runs"
        } else {
            "`airlock storage check --repair` has objects deleted that no row names"
        };
        Err(CliError::text(Kind::Failed, format!("rows and objects do not fit: {left} problems")).hint(hint))
    }
}

/// A check under way.
struct Check {
    store: Store,
    blobs: Blobs,
    repair: bool,
    found: Found,
}

impl Check {
    fn new(store: Store, blobs: Blobs, repair: bool) -> Self {
        Self { store, blobs, repair, found: Found { is_repaired: repair, ..Found::default() } }
    }

    async fn run(mut self, scratch: &Path) -> Result<Found> {
        let failed = || "can't read the database".to_owned();
        // What is younger may be named by a row that is still to come.
        let now = Clock.now();
        let oldest_running = self.store.oldest_running().await.or_fail(Kind::Failed, failed)?;
        let until = oldest_running.map_or(now, |at| at.min(now)).before(IN_FLIGHT);
        let mut inventory = Inventory::read(&self.store, scratch).await.or_fail(Kind::Failed, failed)?;
        name_components(&self.store, &mut inventory).await?;
        self.found.named = inventory.count().await.or_fail(Kind::Failed, failed)?;
        for folder in keys::FOLDERS {
            self.compare(folder, &mut inventory, until).await?;
        }
        self.find_lost(&mut inventory).await?;
        Ok(self.found)
    }

    async fn compare(&mut self, folder: &str, inventory: &mut Inventory, until: Timestamp) -> Result<()> {
        let failed = || "can't list object storage".to_owned();
        let objects = self.blobs.list(folder).or_fail(Kind::Failed, failed)?;
        let mut batches = objects.try_chunks(BATCH);
        while let Some(batch) = batches.try_next().await.map_err(|error| error.1).or_fail(Kind::Failed, failed)? {
            let keys: Vec<_> = batch.iter().map(|object| object.key.clone()).collect();
            let unnamed = inventory.see(&keys).await.or_fail(Kind::Failed, || "can't compare".into())?;
            let unnamed: std::collections::BTreeSet<_> = unnamed.into_iter().collect();
            let forgotten: Vec<_> = batch
                .into_iter()
                .filter(|object| object.modified_at < until && unnamed.contains(&object.key))
                .collect();
            for object in &forgotten {
                self.found.forgotten(object);
            }
            if self.repair && !forgotten.is_empty() {
                let keys: Vec<_> = forgotten.into_iter().map(|object| object.key).collect();
                self.store.garbage_add(&keys).await.or_fail(Kind::Failed, || "can't write the database".into())?;
            }
        }
        Ok(())
    }

    async fn find_lost(&mut self, inventory: &mut Inventory) -> Result<()> {
        let failed = || "can't read the database".to_owned();
        let mut after = String::new();
        loop {
            let unseen = inventory.unseen(&after, MAX_PAGE).await.or_fail(Kind::Failed, failed)?;
            let Some(last) = unseen.last() else { return Ok(()) };
            after.clone_from(&last.blob);
            for named in unseen {
                // Its row may be gone by now, or it came after the list was read.
                if !self.store.blob_is_named(&named).await.or_fail(Kind::Failed, failed)?
                    || self.blobs.exists(&named.blob).await.or_fail(Kind::Failed, || "can't read an object".into())?
                {
                    continue;
                }
                let run = self.store.dag_run_get_by_key(named.dag_run).await.or_fail(Kind::Failed, failed)?;
                self.found.lost(&named, run.map(|run| format!("{} {}", run.dag_id, run.run_id).into()));
            }
        }
    }
}

/// Adds the objects of all components.
async fn name_components(store: &Store, inventory: &mut Inventory) -> Result<()> {
    let failed = || "can't read the components".to_owned();
    let mut after = None;
    loop {
        let components = store.component_list_after(after, MAX_PAGE).await.or_fail(Kind::Failed, failed)?;
        let Some(last) = components.last() else { return Ok(()) };
        after = Some(last.digest);
        for row in &components {
            let blob = keys::component(&row.digest, row.module.kind);
            inventory.name_component(&blob).await.or_fail(Kind::Failed, failed)?;
        }
    }
}
