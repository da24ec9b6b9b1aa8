//! What a server is made of, started in order and ended in order.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{fs::Mode, process::umask};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::DropGuard, task::AbortOnDropHandle};

use super::{
    error::{CliError, Kind, OrFail, Result},
    settings::{BackupConfig, ServeConfig},
};
use crate::{
    backup::{self, Schedule},
    blobs::Blobs,
    connections::Connections,
    databases::DatabasesConfig,
    executor::{Executor, ExecutorConfig},
    notifier::Notifier,
    scheduler::{Scheduler, SchedulerConfig, SchedulerTask},
    secrets::{Secrets, SecretsConfig, SecretsError},
    store::{Store, StoreConfig, StorePlace},
    telemetry::{Duties, Telemetry, Traces, TracesConfig},
    vault::{self, Backend, Environment, Files, HashiCorp, Vault, VaultError},
};

/// Ends of attempts that wait for the scheduler; more make the executor wait.
const MAX_EVENTS: usize = 4_096;
/// How long the end may wait for spans to be sent.
const SPANS_TIMEOUT: Duration = Duration::from_secs(2);
/// From one look at whether the database has keys to the next.
const KEYS_PAUSE: Duration = Duration::from_secs(5);
/// The setting that tells this installation from others.
const INSTALLATION: &str = "installation";

/// A folder of data that only this process works on.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked as long as it is open; the system unlocks it whatever happens to the process.
    _lock: File,
}

impl DataDir {
    /// Makes the folder if it is not there, and locks it.
    ///
    /// # Errors
    /// If it can't be written, or another process works on it.
    pub fn lock(path: &Path) -> Result<Self> {
        let failed = || format!("can't use the data directory `{}`", path.display());
        let path = make(path)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"));
        let lock = lock.or_fail(Kind::Failed, failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(CliError::text(
                Kind::Refused,
                format!("another `airlock serve` works on the data directory `{}`", path.display()),
            )
            .hint("stop it, or name another directory with --data-dir or AIRLOCK_DATA_DIR")),
            Err(TryLockError::Error(error)) => Err(error).or_fail(Kind::Failed, failed),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What this process writes from now on is for its user only, also where folders were made by others and are open to them.
pub fn write_in_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Makes the folder `path`, for this user only, and answers it in full.
fn make(path: &Path) -> Result<PathBuf> {
    write_in_private();
    let failed = || format!("can't make the data directory `{}`", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(path).or_fail(Kind::Failed, failed)?;
    fs::canonicalize(path).or_fail(Kind::Failed, failed)
}

/// Opens (and makes, at first) the database and the key in `data_dir`.
///
/// # Errors
/// If either can't be read, or the key is not the one that the data was sealed with.
pub async fn open_vault(config: &ServeConfig, data_dir: &Path) -> Result<Vault> {
    let keys = MasterKeys::find(config, data_dir)?;
    let store = Store::open(&store_config(config, data_dir)).await;
    vault_of(config, store.or_fail(Kind::Failed, || "can't use the database".into())?, keys).await
}

/// Makes the keys of an open database ready, whose schema is up to date.
///
/// # Errors
/// If the key is not the one that the data was sealed with.
pub async fn vault_of(config: &ServeConfig, store: Store, keys: MasterKeys) -> Result<Vault> {
    let backends = backends(config)?;
    let opened = async {
        let secrets = keys.for_database(&store).await?;
        Vault::open(store, secrets, backends).await
    };
    opened.await.map_err(|error| match error {
        VaultError::Secrets(error) => wrong_key(error),
        error => CliError::new(Kind::Failed, error),
    })
}

fn wrong_key(error: SecretsError) -> CliError {
    // A full disk, say: no other key would help.
    let is_of_disk = matches!(error, SecretsError::KeyFile { .. });
    let error = CliError::new(Kind::Failed, anyhow::Error::new(error).context("can't use the secret key"));
    if is_of_disk {
        return error;
    }
    error.hint(
        "put back the `secret.key` that this data directory was made with, or name the key by AIRLOCK_SECRET_KEY, \
         AIRLOCK_SECRET_KEY_FILE or AIRLOCK_SECRET_KEY_COMMAND; all servers on one database have the same",
    )
}

/// The master keys that the settings name.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    /// None: there is no key yet.
    found: Option<Secrets>,
    data_dir: PathBuf,
}

impl MasterKeys {
    /// # Errors
    /// If they can't be read.
    pub fn find(config: &ServeConfig, data_dir: &Path) -> Result<Self> {
        let keys = SecretsConfig {
            key: config.secret_key.clone().map(Into::into),
            key_file: config.secret_key_file.clone(),
            key_command: config.secret_key_command.clone(),
        };
        let found = Secrets::find(&keys, data_dir).or_fail(Kind::Failed, || "can't use the secret key".into())?;
        Ok(Self { found, data_dir: data_dir.to_owned() })
    }

    pub fn are_there(&self) -> bool {
        self.found.is_some()
    }

    /// Compares them with the database's until that has some. Ends only if this process must not go on; why.
    pub async fn keep(&self, store: &Store) -> CliError {
        loop {
            match self.are_of(store).await {
                Err(VaultError::Secrets(error)) => return wrong_key(error),
                Ok(true) => return std::future::pending().await,
                // Nobody has led yet, or what goes wrong is said by whoever needs it.
                Ok(false) | Err(_) => tokio::time::sleep(KEYS_PAUSE).await,
            }
        }
    }

    /// Whether they are those of the database; false if it has none yet.
    async fn are_of(&self, store: &Store) -> Result<bool, VaultError> {
        match &self.found {
            Some(secrets) => vault::are_agreed(store, secrets).await,
            // That one is with another process, or was lost.
            None if vault::is_sealed(store).await? => Err(Secrets::missing(&self.data_dir).into()),
            None => Ok(false),
        }
    }

    /// Makes a first key, but for a database that has its own.
    async fn for_database(self, store: &Store) -> Result<Secrets, VaultError> {
        self.are_of(store).await?;
        Ok(self.found.map_or_else(|| Secrets::make(&self.data_dir), Ok)?)
    }
}

/// The database that the settings name; by default a file in `data_dir`.
pub fn store_config(config: &ServeConfig, data_dir: &Path) -> StoreConfig {
    let place = match &config.database_url {
        Some(url) => StorePlace::Postgres(url.clone()),
        None => StorePlace::Sqlite(data_dir.join("airlock.db")),
    };
    StoreConfig { place, synchronous: config.synchronous }
}

/// The places outside of the database, in the order in which they are asked.
fn backends(config: &ServeConfig) -> Result<Vec<Box<dyn Backend>>> {
    let mut backends: Vec<Box<dyn Backend>> = Vec::new();
    if let Some(environment) = Environment::of(config.environment.iter().cloned()) {
        backends.push(Box::new(environment));
    }
    if let Some(folder) = &config.secrets_files {
        backends.push(Box::new(Files::new(folder.clone())));
    }
    if let Some(vault) = &config.hashicorp {
        let vault = HashiCorp::new(vault.clone()).or_fail(Kind::Failed, || "can't make requests".into())?;
        backends.push(Box::new(vault));
    }
    Ok(backends)
}

/// Everything behind the pages and the API.
pub struct Services {
    /// First, so that what ends with the rest is known to end.
    serves: DropGuard,
    pub vault: Vault,
    pub blobs: Blobs,
    pub scheduler: Scheduler,
    executor: Executor,
    scheduler_task: SchedulerTask,
    notifier: Option<AbortOnDropHandle<()>>,
    /// Seals anew after a rotation.
    sealer: Option<AbortOnDropHandle<()>>,
    /// Sends what is left when nobody tells any more.
    spans: Option<JoinHandle<()>>,
    backups: Option<AbortOnDropHandle<()>>,
}

impl Services {
    /// Starts all of it, from the ground up. `duties` are told if a part of it ends by itself.
    ///
    /// # Errors
    /// If one can't start.
    pub async fn start(
        config: &ServeConfig,
        vault: Vault,
        data_dir: &Path,
        timetables: bool,
        duties: &Duties,
    ) -> Result<Self> {
        let blobs = open_blobs(config, data_dir)?;
        // A storage that is named wrongly is told before anything works.
        let backups = match config.backup.as_ref().filter(|_| timetables) {
            Some(backup) => Some((backup, open_backups(&backup.url)?)),
            None => None,
        };

        let mut telemetry = Telemetry { duties: duties.clone(), ..Telemetry::default() };
        let spans = match &config.traces_url {
            // A trial is nobody's run.
            Some(url) if timetables => {
                let headers = config.traces_headers.clone();
                let installation = installation(vault.store()).await?;
                let traces = TracesConfig { url: url.clone(), headers, installation };
                let (traces, sender) = Traces::start(traces, telemetry.metrics.clone())
                    .or_fail(Kind::Usage, || "can't send traces".into())?;
                telemetry.traces = traces;
                // It sends what is left when nobody tells any more.
                Some(duties.spawn("the sender of traces", sender).detach())
            }
            _ => None,
        };
        let (events, receiver) = mpsc::channel(MAX_EVENTS);
        let executor_config = ExecutorConfig {
            hostname: rustix::system::uname().nodename().to_string_lossy().into(),
            parallelism: config.parallelism,
            runners: u32::from(config.workers_local),
            queues: config.local_queues(),
            egress_allow_private: config.egress_allow_private,
            traffic: config.traffic,
            dag_limits: config.dag_limits,
            databases: DatabasesConfig { sqlite_folder: config.sqlite_folder.clone() },
            record: config.record,
            max_recording_bytes: config.max_recording_bytes,
            telemetry: telemetry.clone(),
            ..ExecutorConfig::new(data_dir.to_owned())
        };
        let store = vault.store().clone();
        let executor = Executor::start(executor_config, blobs.clone(), vault.clone(), events)
            .or_fail(Kind::Failed, || "can't start the executor".into())?;
        if timetables {
            store.log_allocate().await.or_fail(Kind::Failed, || "can't use the database".into())?;
        }
        let (backup_failing, backup) = watch::channel(None);
        let scheduler_config = SchedulerConfig {
            parallelism: config.parallelism,
            signers: config.signers.clone(),
            grants_policy: config.grants_policy.clone(),
            dag_limits: config.dag_limits,
            timetables,
            telemetry: telemetry.clone(),
            retention: config.retention,
            data_dir: Some(data_dir.to_owned()),
            backup: Some(backup),
            ..Default::default()
        };
        let (scheduler, scheduler_task) =
            Scheduler::start(scheduler_config, store, blobs.clone(), executor.clone(), receiver)
                .await
                .or_fail(Kind::Failed, || "can't start the scheduler".into())?;
        // A trial is over soon, and tells nobody.
        let notifier = if timetables {
            let (store, connections) = (vault.store().clone(), Connections::new(vault.clone()));
            let notifier = Notifier::new(store, connections, Arc::new(scheduler.clone()), telemetry.metrics.clone());
            let notifier = notifier.or_fail(Kind::Failed, || "can't make requests".into())?;
            Some(duties.spawn("the notifier", notifier.run()))
        } else {
            None
        };
        let backups = backups.map(|(BackupConfig { schedule, keep, .. }, backups)| {
            let (cron, metrics) = (schedule.clone(), telemetry.metrics.clone());
            let schedule = Schedule { cron, backups, keep: *keep, failing: backup_failing, metrics };
            let made = backup::on_schedule(vault.store().clone(), data_dir.to_owned(), blobs.clone(), schedule);
            duties.spawn("the maker of backups", made)
        });
        let sealer = timetables.then(|| duties.spawn("who seals anew", vault.clone().keep_sealed()));
        let serves = duties.until_dropped();
        Ok(Self { serves, vault, blobs, scheduler, executor, scheduler_task, notifier, sealer, spans, backups })
    }

    /// Ends all of it, from the top down. What runs is started again by the next start.
    pub async fn stop(self) {
        self.stop_and(async || {}).await;
    }

    /// As [`stop`](Self::stop); `last` is done when all is written, before the database is closed.
    pub async fn stop_and(self, last: impl AsyncFnOnce()) {
        drop(self.serves);
        self.scheduler.stop().await;
        self.scheduler_task.ended().await;
        // What it could not deliver is delivered after the next start.
        drop((self.notifier, self.sealer));
        // One that is interrupted is none, and is made again.
        drop(self.backups);
        self.executor.shutdown().await;
        self.blobs.close().await;
        last().await;
        self.vault.store().close().await;
        drop((self.scheduler, self.executor));
        if let Some(spans) = self.spans {
            // They are of use, but not worth waiting for.
            let _ = tokio::time::timeout(SPANS_TIMEOUT, spans).await;
        }
    }
}

/// A random name that the database keeps.
pub async fn installation(store: &Store) -> Result<[u8; 16]> {
    let kept = async {
        store.setting_put_new(INSTALLATION, uuid::Uuid::new_v4().as_bytes()).await?;
        store.setting_get(INSTALLATION).await
    };
    let kept = kept.await.or_fail(Kind::Failed, || "can't use the database".into())?.unwrap_or_default();
    kept.try_into().map_err(|_| CliError::text(Kind::Failed, "the setting `installation` in the database is damaged"))
}

/// The object storage that the settings name; by default a folder of the data directory.
///
/// # Errors
/// If it can't be used.
pub fn open_blobs(config: &ServeConfig, data_dir: &Path) -> Result<Blobs> {
    let blobs = match &config.storage_url {
        Some(url) => Blobs::open(url),
        None => Blobs::open(&local_url(&data_dir.join("blobs"))?),
    };
    blobs.or_fail(Kind::Usage, || "can't use the object storage of `storage.url`".into())
}

/// The storage of backups that `text` names, a path or a url.
///
/// # Errors
/// If it can't be used.
pub fn open_backups(text: &str) -> Result<Blobs> {
    write_in_private();
    Blobs::open(&url_of(text)?).or_fail(Kind::Usage, || format!("can't use `{text}` for backups"))
}

/// As [`open_backups`], where somebody has made backups: a folder that is not there is not made.
///
/// # Errors
/// If it is not there, or can't be used.
pub fn find_backups(text: &str) -> Result<Blobs> {
    if Blobs::is_there(&url_of(text)?) {
        return open_backups(text);
    }
    Err(CliError::text(Kind::NotFound, format!("there is no folder `{text}`"))
        .hint("name the folder or url that `airlock backup` was given"))
}

/// The url of a storage that is named by a path or a url.
///
/// # Errors
/// If it is neither.
fn url_of(text: &str) -> Result<String> {
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(text).or_fail(Kind::Usage, || format!("`{text}` is not a path"))?;
    local_url(&path)
}

fn local_url(folder: &Path) -> Result<String> {
    reqwest::Url::from_directory_path(folder)
        .map(String::from)
        .map_err(|()| CliError::text(Kind::Usage, format!("`{}` is not an absolute path", folder.display())))
}
