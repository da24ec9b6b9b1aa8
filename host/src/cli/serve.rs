//! `airlock serve`.

use std::{net::SocketAddr, thread};

use axum::{Router, middleware::from_fn_with_state};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::{
    error::{CliError, Kind, OrFail, Result},
    http::{self, Front},
    log,
    output::print,
    services::{DataDir, Services, Vault},
    settings::{ServeConfig, SettingArgs, Settings},
    tls::Tls,
};
use crate::{
    api::{self, ApiConfig, ApiState},
    auth::{Auth, AuthConfig},
    model::time::Clock,
    ui::{self, UiCache, UiState},
};

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    settings: SettingArgs,
}

impl ServeArgs {
    /// Serves until SIGINT or SIGTERM.
    pub fn run(&self) -> Result<()> {
        let config = ServeConfig::from_settings(&Settings::load(&self.settings)?)?;
        log::start(&config);
        raise_file_limit();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        runtime.block_on(serve(config))
    }
}

async fn serve(config: ServeConfig) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let data_dir = DataDir::lock(&config.data_dir)?;
    let (listener, address) = listen(config.listen).await?;
    let tls = config.tls.clone().map(Tls::open).transpose();
    let tls = tls.or_fail(Kind::Usage, || "can't serve TLS".to_owned())?;
    let front = Front { tls, proxies: config.trusted_proxies.clone() };
    let vault = Vault::open(&config, data_dir.path()).await?;
    let services = Services::start(&config, vault, data_dir.path(), true).await?;
    let auth = Auth::new(AuthConfig::default(), services.vault.store.clone(), Clock);
    let given = config.admin_password.map(Into::into);
    let made = auth.ensure_admin(given).await.or_fail(Kind::Usage, || "can't make the first admin".into())?;

    let stopping = CancellationToken::new();
    let app = router(&services, &auth, &stopping);

    let scheme = if front.tls.is_some() { "https" } else { "http" };
    print(&format!("airlock {} serves {scheme}://{address}\n", env!("CARGO_PKG_VERSION")))?;
    if let Some(password) = made {
        print(&format!("user: admin  password: {}  (shown once)\n", password.expose()))?;
    }
    tracing::info!(%address, data_dir = %data_dir.path().display(), "serving");

    let end = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("shutting down");
        stopping.cancel();
    };
    // Without TLS it ends the server, as it does whatever else is started in a terminal.
    let hangup = front.tls.is_some().then(|| signal(SignalKind::hangup())).transpose()?;
    let reload = reload(front.tls.clone().zip(hangup));
    tokio::select! {
        () = http::serve(listener, app, front, end) => {}
        () = reload => {}
    }
    tokio::select! {
        () = services.stop() => {}
        _ = interrupt.recv() => tracing::warn!("interrupted again: not waiting for the rest"),
    }
    Ok(())
}

/// Reads the certificate anew whenever the server is told to. Never ends.
async fn reload(on: Option<(Tls, Signal)>) {
    if let Some((tls, mut hangup)) = on {
        while hangup.recv().await.is_some() {
            tls.look_again(true).await;
        }
    }
    std::future::pending::<()>().await;
}

/// The page and the API on one address.
fn router(services: &Services, auth: &Auth, stopping: &CancellationToken) -> Router {
    let Services { scheduler, blobs, vault: Vault { store, secrets, values }, .. } = services;
    let api = api::router(ApiState {
        scheduler: scheduler.clone(),
        store: store.clone(),
        blobs: blobs.clone(),
        secrets: secrets.clone(),
        vault: values.clone(),
        auth: auth.clone(),
        logs: scheduler.logs().clone(),
        clock: Clock,
        config: ApiConfig::default(),
    });
    let ui = ui::router(UiState {
        scheduler: scheduler.clone(),
        store: store.clone(),
        blobs: blobs.clone(),
        secrets: secrets.clone(),
        vault: values.clone(),
        auth: auth.clone(),
        logs: scheduler.logs().clone(),
        clock: Clock,
        stopping: stopping.clone(),
        shapes: UiCache::default(),
    });
    api.merge(ui).layer(from_fn_with_state(scheduler.metrics().clone(), api::guard::measure))
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        CliError::new(Kind::Failed, anyhow::Error::new(error).context(format!("can't listen on {address}")))
            .hint("name another address with --listen or AIRLOCK_LISTEN")
    })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Connections and runners are files. What the system allows, it allows: no fault if it does not.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
