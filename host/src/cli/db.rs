//! `airlock db`: the database itself.

use std::path::PathBuf;

use serde_json::json;

use super::{
    error::{CliError, Kind, OrFail, Result},
    local::{CONFIG_HELP, DATA_DIR_HELP},
    output::{Format, note},
    services::DataDir,
    settings::{ServeConfig, SettingArgs, Settings},
};
use crate::store::{self, Store, StoreConfig, StoreError, StorePlace, Synchronous};

#[derive(Debug, clap::Subcommand)]
pub enum DbCommand {
    /// Copies all of the data directory's database to an empty one of PostgreSQL. The server must not run.
    Move {
        #[command(flatten)]
        file: FileArgs,
        /// The database, as `postgres://user:password@host/database`; by default that of `database.url`.
        #[arg(long, value_name = "URL")]
        to: Option<String>,
    },
    /// Lets servers go on with the data directory's database as it was when it was moved.
    TakeBack {
        #[command(flatten)]
        file: FileArgs,
    },
}

#[derive(Debug, clap::Args)]
pub struct FileArgs {
    #[arg(long, value_name = "DIR", help = DATA_DIR_HELP)]
    data_dir: Option<String>,
    #[arg(long, value_name = "FILE", help = CONFIG_HELP)]
    config: Option<PathBuf>,
}

impl FileArgs {
    /// The settings, and the database's file.
    fn find(self) -> Result<(ServeConfig, PathBuf)> {
        let settings = Settings::load(&SettingArgs::of_data_dir(self.config, self.data_dir))?;
        let config = ServeConfig::from_settings(&settings)?;
        let file = config.data_dir.join("airlock.db");
        if !file.is_file() {
            let text = format!("there is no database in `{}`", config.data_dir.display());
            return Err(CliError::text(Kind::NotFound, text)
                .hint("name the server's data directory with --data-dir or AIRLOCK_DATA_DIR"));
        }
        Ok((config, file))
    }
}

impl DbCommand {
    pub async fn run(self, format: Format) -> Result<()> {
        match self {
            Self::Move { file, to } => move_to(file, to, format).await,
            Self::TakeBack { file } => take_back(file).await,
        }
    }
}

async fn move_to(file: FileArgs, to: Option<String>, format: Format) -> Result<()> {
    let (config, file) = file.find()?;
    let Some(url) = to.or(config.database_url) else {
        return Err(CliError::text(Kind::Usage, "it is not said which database to move to")
            .hint("name it with --to or AIRLOCK_DATABASE_URL"));
    };
    // Nobody writes what would not be copied.
    let _lock = DataDir::lock(&config.data_dir)?;
    let place = StorePlace::Postgres(url);
    let store = Store::open(&StoreConfig { place, synchronous: Synchronous::Full }).await;
    let store = store.or_fail(Kind::Failed, || "can't use the database".into())?;
    let rows = store.fill_from(&file).await.map_err(|error| {
        let is_refused = matches!(error, StoreError::NotEmpty | StoreError::Moved { .. });
        let kind = if is_refused { Kind::Refused } else { Kind::Failed };
        CliError::new(kind, anyhow::Error::new(error).context("the database was not moved"))
    })?;
    store.close().await;
    format.object(&json!({"rows": rows}))?;
    note("start the server with AIRLOCK_DATABASE_URL; the old database stays where it is, and is not used any more");
    Ok(())
}

async fn take_back(file: FileArgs) -> Result<()> {
    let (config, file) = file.find()?;
    let _lock = DataDir::lock(&config.data_dir)?;
    let failed = || format!("can't use `{}`", file.display());
    let Some(to) = store::moved_to(&file).await.or_fail(Kind::Failed, failed)? else {
        return Err(CliError::text(Kind::Refused, "the database was not moved").hint("servers use it as it is"));
    };
    store::take_back(&file).await.or_fail(Kind::Failed, failed)?;
    note(&format!(
        "servers without AIRLOCK_DATABASE_URL go on with it; `{to}` stays as it is, and nothing of it comes back. If it deleted objects \
         meanwhile, `airlock storage check` names them"
    ));
    Ok(())
}
