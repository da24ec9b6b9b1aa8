//! Commands that work on a data directory, without a server.

use std::path::PathBuf;

use super::{
    agreement::{Agreement, Role},
    error::{CliError, Kind, OrFail, Result},
    services::{open_blobs, open_vault, write_in_private},
    settings::{ServeConfig, SettingArgs, Settings},
};
use crate::{blobs::Blobs, vault::Vault};

pub const DATA_DIR_HELP: &str = "The server's data directory [env: AIRLOCK_DATA_DIR] [default: airlock-data]";
pub const CONFIG_HELP: &str =
    "The server's settings file [env: AIRLOCK_CONFIG] [default: airlock.toml, if there is one]";

/// Which data directory. A server may work on it at the same time.
#[derive(Debug, clap::Args)]
pub struct LocalArgs {
    // Both are global: of a command that has others below it, they may stand behind those, too.
    #[arg(long, value_name = "DIR", global = true, help = DATA_DIR_HELP)]
    data_dir: Option<String>,
    #[arg(long, value_name = "FILE", global = true, help = CONFIG_HELP)]
    config: Option<PathBuf>,
}

impl LocalArgs {
    /// Opens the database and the keys.
    ///
    /// # Errors
    /// If there are none, or they can't be read.
    pub async fn open(self) -> Result<Vault> {
        Ok(self.open_with_config().await?.0)
    }

    /// Opens the database, the keys and object storage.
    ///
    /// # Errors
    /// If there are none, they can't be read, or the storage is not the database's.
    pub async fn open_with_blobs(self) -> Result<(Vault, Blobs)> {
        let (vault, blobs, _) = self.open_with_folder().await?;
        Ok((vault, blobs))
    }

    /// As [`LocalArgs::open_with_blobs`], and the data directory.
    pub async fn open_with_folder(self) -> Result<(Vault, Blobs, PathBuf)> {
        let (vault, config) = self.open_with_config().await?;
        let data_dir = folder(&config)?;
        let blobs = open_blobs(&config, &data_dir)?;
        Agreement::new(vault.store().clone(), blobs.clone(), &config.shown).reach(Role::Waits).await?;
        Ok((vault, blobs, data_dir))
    }

    /// Opens the database and the keys; and the settings.
    pub async fn open_with_config(self) -> Result<(Vault, ServeConfig)> {
        let settings = Settings::load(&SettingArgs::of_data_dir(self.config, self.data_dir))?;
        let config = ServeConfig::from_settings(&settings)?;
        if config.database_url.is_none() && !config.data_dir.join("airlock.db").is_file() {
            let text = format!("there is no database in `{}`", config.data_dir.display());
            return Err(CliError::text(Kind::NotFound, text)
                .hint("name the server's data directory with --data-dir or AIRLOCK_DATA_DIR"));
        }
        write_in_private();
        Ok((open_vault(&config, &config.data_dir).await?, config))
    }
}

/// The data directory, which is there.
///
/// # Errors
/// If it is not: a new one would hold nothing of the server's.
pub fn folder(config: &ServeConfig) -> Result<PathBuf> {
    std::fs::canonicalize(&config.data_dir)
        .or_fail(Kind::NotFound, || format!("can't use the data directory `{}`", config.data_dir.display()))
        .map_err(|error| error.hint("name the server's with --data-dir or AIRLOCK_DATA_DIR"))
}
