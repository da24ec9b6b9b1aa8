//! `airlock backup` and `airlock restore`.

use std::{num::NonZeroU32, path::Path};

use futures_util::StreamExt as _;
use serde_json::json;

use super::{
    error::{CliError, Kind, OrFail, Result},
    local::{CONFIG_HELP, LocalArgs},
    output::{Format, note},
    services::{DataDir, MasterKeys, find_backups, open_backups, open_blobs},
    settings::{ServeConfig, SettingArgs, Settings},
};
use crate::{
    backup::{self, BackupError, Manifest, Plan, Restored},
    blobs::{Blobs, keys},
    model::time::Clock,
    store::{self, Store, StoreConfig, StorePlace, Synchronous},
};

/// The file in the data directory that says which backup is being restored into it.
const RESTORING: &str = "restoring.json";

/// Make a backup of a data directory and its objects; a server may work on it meanwhile.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// Where to: a folder, or a url as `s3://bucket/prefix?endpoint=...`. Objects that are there are not copied again.
    target: String,
    /// Also the secret key. Whoever has the backup can then read all variables and connections.
    #[arg(long)]
    with_key: bool,
    /// Delete older backups, but for so many with this one.
    #[arg(long)]
    keep: Option<NonZeroU32>,
    #[command(flatten)]
    local: LocalArgs,
}

/// Restore a backup into an empty place.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// Where the backups are: a folder, or a url as `s3://bucket/prefix?endpoint=...`.
    source: String,
    /// Which one, as `--list` shows; the newest by default.
    #[arg(long)]
    backup: Option<String>,
    /// Show the backups, and restore none.
    #[arg(long)]
    list: bool,
    #[arg(
        long,
        value_name = "DIR",
        help = "The data directory to make [env: AIRLOCK_DATA_DIR] [default: airlock-data]"
    )]
    data_dir: Option<String>,
    #[arg(long, value_name = "FILE", help = CONFIG_HELP)]
    config: Option<std::path::PathBuf>,
}

/// What went wrong, with a way out.
fn failed(error: BackupError) -> CliError {
    let (kind, hint) = match &error {
        BackupError::NotFound(_) => (Kind::NotFound, "name the folder or url that `airlock backup` was given"),
        BackupError::Busy => (Kind::Refused, "wait until it is done"),
        BackupError::Newer { .. } => (Kind::Refused, "nothing was restored"),
        BackupError::Damaged(_) | BackupError::Missing(_) => {
            (Kind::Failed, "take another one: `--list`, `--backup ID`")
        }
        BackupError::Store(_) | BackupError::Blobs { .. } | BackupError::File { .. } => {
            (Kind::Failed, "try again: what was copied is not copied again")
        }
    };
    CliError::new(kind, error).hint(hint)
}

/// The secret key, as it stands in its file.
///
/// # Errors
/// If it is in none.
fn key_of(data_dir: &Path) -> Result<Vec<u8>> {
    std::fs::read(data_dir.join("secret.key")).map_err(|error| {
        CliError::new(Kind::Usage, anyhow::Error::new(error).context("can't read the secret key in the data directory"))
            .hint("a key of AIRLOCK_SECRET_KEY is kept by whoever sets it; leave out --with-key")
    })
}

fn shown(manifest: &Manifest) -> serde_json::Value {
    json!({
        "backup": manifest.id, "created_at": manifest.created_at, "database_bytes": manifest.database.size_bytes,
        "objects": manifest.objects, "objects_bytes": manifest.objects_bytes, "missing": manifest.missing.len(),
        "has_key": manifest.has_key, "airlock_version": manifest.airlock_version,
    })
}

impl BackupArgs {
    pub async fn run(self, format: Format) -> Result<()> {
        let backups = open_backups(&self.target)?;
        let (vault, blobs, data_dir) = self.local.open_with_folder().await?;
        let key = if self.with_key { Some(key_of(&data_dir)?) } else { None };
        let plan =
            Plan { store: vault.store(), data_dir: &data_dir, blobs: &blobs, backups: &backups, key, keep: self.keep };
        let created = backup::create(&plan, Clock.now()).await.map_err(failed)?;
        let mut object = shown(&created.manifest);
        object["copied"] = created.copied.into();
        object["copied_bytes"] = created.copied_bytes.into();
        object["pruned"] = created.pruned.into();
        format.object(&object)?;
        if !self.with_key {
            note("the secret key is not in it: keep `secret.key` of the data directory in another place");
        }
        if !created.manifest.missing.is_empty() {
            note("some objects are not there; `airlock storage check` names those that are lost");
        }
        Ok(())
    }
}

impl RestoreArgs {
    pub async fn run(self, format: Format) -> Result<()> {
        let backups = find_backups(&self.source)?;
        if self.list {
            let all: Vec<_> = backup::list(&backups).await.map_err(failed)?.iter().map(shown).collect();
            let columns = [
                ("backup", "/backup"),
                ("created_at", "/created_at"),
                ("database", "/database_bytes"),
                ("objects", "/objects"),
                ("bytes", "/objects_bytes"),
                ("missing", "/missing"),
                ("key", "/has_key"),
            ];
            return format.list(&all, &columns);
        }
        let manifest = backup::find(&backups, self.backup.as_deref()).await.map_err(failed)?;
        let settings = Settings::load(&SettingArgs::of_data_dir(self.config, self.data_dir))?;
        let config = ServeConfig::from_settings(&settings)?;
        let data_dir = DataDir::lock(&config.data_dir)?;
        let blobs = open_blobs(&config, data_dir.path())?;
        let file = data_dir.path().join("airlock.db");
        let earlier = restored_earlier(data_dir.path(), &manifest);
        let database = open_empty(&config, earlier.as_ref().map(|_| file.as_path())).await?;
        let restored = if let Some(restored) = earlier {
            note("an earlier try restored it; `airlock storage check` says whether an object is lost");
            restored
        } else {
            make_sure_it_is_empty(data_dir.path(), &blobs, &manifest).await?;
            backup::restore(&backups, &manifest, data_dir.path(), &blobs).await.map_err(failed)?
        };
        if let Some(store) = database {
            fill(store, &file).await?;
        }
        let marker = data_dir.path().join(RESTORING);
        std::fs::remove_file(&marker).or_fail(Kind::Failed, || format!("can't remove `{}`", marker.display()))?;
        // Last: while the marker is there, another try goes on from the file.
        if config.database_url.is_some() {
            std::fs::remove_file(&file).or_fail(Kind::Failed, || format!("can't remove `{}`", file.display()))?;
        }
        let mut object = shown(&manifest);
        object["restored"] = restored.objects.into();
        object["lost"] = restored.lost_count.into();
        format.object(&object)?;
        // One that is named and can't be read is told at the server's start.
        let is_missing = MasterKeys::find(&config, data_dir.path()).is_ok_and(|keys| !keys.are_there());
        if !manifest.has_key && is_missing {
            note(&format!(
                "put the `secret.key` of the server into `{}` before you start: variables and connections are sealed with it",
                data_dir.path().display()
            ));
        }
        if restored.lost_count > 0 {
            for key in &restored.lost {
                note(&format!("not in the backup, or damaged: {key}"));
            }
            return Err(CliError::text(Kind::Failed, format!("{} objects could not be restored", restored.lost_count))
                .hint("all else is restored; `airlock storage check` says what they belong to"));
        }
        Ok(())
    }
}

/// The database of PostgreSQL that is to be filled, if one is named, before anything is copied. `earlier`: the file that an earlier try restored.
async fn open_empty(config: &ServeConfig, earlier: Option<&Path>) -> Result<Option<Store>> {
    let Some(url) = &config.database_url else { return Ok(None) };
    let failed = || "can't use the database".to_owned();
    let place = StorePlace::Postgres(url.clone());
    let store =
        Store::open(&StoreConfig { place, synchronous: Synchronous::Full }).await.or_fail(Kind::Failed, failed)?;
    if store.is_used().await.or_fail(Kind::Failed, failed)? {
        // That try filled it.
        if let Some(file) = earlier
            && store::moved_to(file).await.or_fail(Kind::Failed, failed)?.is_some()
        {
            return Ok(None);
        }
        return Err(not_empty("there are dags or users in its database"));
    }
    Ok(Some(store))
}

/// Moves what was restored to the database of PostgreSQL.
async fn fill(store: Store, file: &Path) -> Result<()> {
    store.fill_from(file).await.or_fail(Kind::Failed, || "the database was not restored".to_owned()).map_err(
        |error| {
            error.hint("all is in the data directory: `airlock db move` brings it to an empty database of PostgreSQL")
        },
    )?;
    store.close().await;
    Ok(())
}

fn not_empty(what: &str) -> CliError {
    CliError::text(Kind::Refused, format!("{what}; a backup is restored into an empty place only")).hint(
        "name another data directory with --data-dir, another storage with AIRLOCK_STORAGE_URL, another database with AIRLOCK_DATABASE_URL",
    )
}

/// What an earlier try restored of the same backup that was ended after the database's file had taken its place, which it does last.
fn restored_earlier(data_dir: &Path, manifest: &Manifest) -> Option<Restored> {
    let is_restored = begun(data_dir) == manifest.id && data_dir.join("airlock.db").exists();
    is_restored.then(|| Restored {
        objects: manifest.objects,
        lost: manifest.missing.clone(),
        lost_count: manifest.missing.len() as u64,
    })
}

/// The backup that is being restored into `data_dir`, or nothing.
fn begun(data_dir: &Path) -> String {
    std::fs::read_to_string(data_dir.join(RESTORING)).unwrap_or_default()
}

/// Refuses to begin anew where a restore was begun: what it has brought back would be lost, and it could not go on.
pub fn refuse_half_restored(data_dir: &Path) -> Result<()> {
    let marker = data_dir.join(RESTORING);
    if !marker.exists() {
        return Ok(());
    }
    Err(CliError::text(
        Kind::Refused,
        format!("a backup was being restored into `{}`, and that did not come to its end", data_dir.display()),
    )
    .hint(format!("run the same `airlock restore` again; to do without the backup, delete `{}`", marker.display())))
}

/// Refuses to restore over anything but what an earlier try left of the same backup.
async fn make_sure_it_is_empty(data_dir: &Path, blobs: &Blobs, manifest: &Manifest) -> Result<()> {
    if data_dir.join("airlock.db").exists() {
        return Err(not_empty(&format!("there is a database in `{}`", data_dir.display())));
    }
    if begun(data_dir) == manifest.id {
        return Ok(());
    }
    for folder in keys::FOLDERS {
        let failed = || "can't list object storage".to_owned();
        let mut objects = blobs.list(folder).or_fail(Kind::Failed, failed)?;
        if objects.next().await.transpose().or_fail(Kind::Failed, failed)?.is_some() {
            return Err(not_empty("there are objects in its object storage"));
        }
    }
    let marker = data_dir.join(RESTORING);
    std::fs::write(&marker, &manifest.id).or_fail(Kind::Failed, || format!("can't write `{}`", marker.display()))
}
