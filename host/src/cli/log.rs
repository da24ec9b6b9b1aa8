//! The server's own log, on standard error.

use tracing_subscriber::EnvFilter;

use super::{
    output,
    settings::{LogFormat, ServeConfig},
};

/// Logs to standard error.
pub fn start(config: &ServeConfig) {
    // Whose connection it was says the same, and where; PostgreSQL notes what is there already.
    let quiet = "rustls_platform_verifier=off,sqlx::postgres::notice=warn";
    let filter = EnvFilter::new(format!("{quiet},{}", config.log_level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true);
    // Fails only if there is a log already.
    let _ = match config.log_format {
        LogFormat::Text => log.with_ansi(output::error_colored()).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
