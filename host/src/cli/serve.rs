//! `airlock serve`.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
};
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::{
    agreement::{Agreement, Role},
    backup,
    cluster::{Member, Switch},
    error::{CliError, Kind, OrFail, Result},
    fleets,
    http::{self, Front},
    log,
    output::print,
    services::{self, DataDir, MasterKeys, Services},
    settings::{ServeConfig, SettingArgs, Settings},
    tls::Tls,
    worker,
};
use crate::{
    api::{self, ApiConfig, ApiState, WorkersConfig},
    auth::{Auth, AuthConfig, Oidc},
    model::{pods::settings::Fleets, time::Clock},
    pods::{Cluster, Pods},
    sandbox,
    secrets::SecretString,
    store::Store,
    telemetry::Duties,
    ui::{self, UiState},
    vault::{self, Vault},
};

/// How long the rest may take to end when a part of the server has ended by itself.
const LAST_WORDS: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Answers requests and never schedules: passes them on to the process that does. Needs `database.url`.
    #[arg(long, conflicts_with = "scheduler")]
    api: bool,
    /// Schedules as soon as no other process does, and answers requests; so it does without this, too.
    #[arg(long)]
    scheduler: bool,
    /// Runs task instances for the server of `workers.url`, and nothing else.
    #[arg(long, conflicts_with_all = ["api", "scheduler"])]
    worker: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

impl ServeArgs {
    /// Serves until SIGINT or SIGTERM, or until a part of the server ends by itself, which is an error.
    pub fn run(&self) -> Result<()> {
        let config = ServeConfig::from_settings(&Settings::load(&self.settings)?)?;
        log::start(&config);
        limit_process();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        if self.worker {
            return runtime.block_on(worker::work(&config));
        }
        let served = runtime.block_on(serve(config, !self.api));
        if served.is_err() {
            // A thread that hangs does not keep the process from being started again.
            runtime.shutdown_timeout(LAST_WORDS);
        }
        served
    }
}

/// Serves for as long as all parts of the server work. Without one of them it would look well and not do what it is
/// there for.
async fn serve(config: ServeConfig, may_lead: bool) -> Result<()> {
    let duties = Duties::default();
    let served = Box::pin(serve_with(config, may_lead, &duties));
    let given_up = async {
        duties.one_ended().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        served = served => served?,
        () = given_up => tracing::error!("not waiting for the rest"),
    }
    let failed = || "the server can't go on without one of its parts".to_owned();
    let all = duties.check().or_fail(Kind::Failed, failed);
    all.map_err(|error| {
        error.hint("start it again, or let systemd or Kubernetes do so; nothing that was accepted is lost")
    })
}

/// Serves until it is told to end, or one of `duties` has ended.
async fn serve_with(config: ServeConfig, may_lead: bool, duties: &Duties) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let fleets = fleets::open(&config).await?;
    let data_dir = DataDir::lock(&config.data_dir)?;
    backup::refuse_half_restored(data_dir.path())?;
    let (listener, address) = listen(config.listen).await?;
    let tls = config.tls.clone().map(Tls::open).transpose();
    let tls = tls.or_fail(Kind::Usage, || "can't serve TLS".to_owned())?;
    let front = Front { tls, proxies: config.trusted_proxies.clone() };
    let keys = MasterKeys::find(&config, data_dir.path())?;
    // A storage that is named wrongly is told at the start, not when this process is needed.
    let blobs = may_lead.then(|| services::open_blobs(&config, data_dir.path())).transpose()?;
    let store = Store::join(&services::store_config(&config, data_dir.path())).await;
    let store = store.or_fail(Kind::Failed, || "can't use the database".into())?;
    // Wrong keys are told at the start, but where the tables may not be those of this version yet. A first key is made by whoever leads.
    let failed = || "can't use the database".into();
    let is_told =
        !store.is_behind() && (keys.are_there() || vault::is_sealed(&store).await.or_fail(Kind::Failed, failed)?);
    let vault = if is_told { Some(services::vault_of(&config, store.clone(), keys.clone()).await?) } else { None };
    let agreement = blobs.map(|blobs| Agreement::new(store.clone(), blobs, &config.shown));
    if let Some(agreement) = &agreement {
        agreement.reach(Role::Waits).await?;
    }
    let stopping = CancellationToken::new();
    let end = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = duties.one_ended() => {}
        }
        tracing::info!("shutting down");
        stopping.cancel();
    };
    // Without TLS it ends the server, as it does whatever else is started in a terminal.
    let hangup = front.tls.is_some().then(|| signal(SignalKind::hangup())).transpose()?;
    let reload = reload(front.tls.clone().zip(hangup));
    let scheme = if front.tls.is_some() { "https" } else { "http" };
    let served = async |app: Router| {
        tokio::select! {
            () = http::serve(listener, app, front, end) => {}
            () = reload => {}
        }
    };

    let open_vault = async || match vault {
        Some(vault) => Ok(vault),
        None => services::vault_of(&config, store.clone(), keys.clone()).await,
    };
    if store.is_shared() {
        let url = match &config.cluster_url {
            Some(url) => reached_by(url, scheme == "https")?,
            None => url_of(scheme, address)?,
        };
        let member = Member::new(store.clone(), url, stopping.clone(), duties).await?;
        announce(scheme, address)?;
        let lead = async |agreement: &Agreement| {
            store.schema_update().await.or_fail(Kind::Failed, || "can't use the database".into())?;
            agreement.reach(Role::Leads).await?;
            let of = (&stopping, duties);
            Box::pin(Leading::start(&config, open_vault().await?, data_dir.path(), fleets, of)).await
        };
        let turn = agreement.map(|agreement| (lead, agreement, keys.keep(&store)));
        return Box::pin(serve_as_member(&member, turn, (served, &stopping))).await;
    }
    let Some(agreement) = agreement else {
        let text = "--api is for several processes on one database, and there is none that they could share";
        return Err(CliError::text(Kind::Usage, text)
            .hint("name a PostgreSQL database by AIRLOCK_DATABASE_URL, or leave out --api"));
    };
    agreement.reach(Role::Leads).await?;
    let leading = Leading::start(&config, open_vault().await?, data_dir.path(), fleets, (&stopping, duties)).await?;
    announce(scheme, address)?;
    leading.tell_password()?;
    tokio::select! {
        () = served(leading.app) => {}
        refused = agreement.keep(Role::Leads) => return Err(refused),
    }
    drop(leading.pods);
    tokio::select! {
        () = leading.services.stop() => {}
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

/// All that a process does that leads.
struct Leading {
    services: Services,
    /// None: there are no fleets.
    pods: Option<Pods>,
    app: Router,
    /// That of the first admin, if it was made.
    password: Option<SecretString>,
}

impl Leading {
    async fn start(
        config: &ServeConfig,
        vault: Vault,
        data_dir: &Path,
        fleets: Option<(Fleets, Cluster)>,
        (stopping, duties): (&CancellationToken, &Duties),
    ) -> Result<Self> {
        let services = Services::start(config, vault, data_dir, true, duties).await?;
        let oidc = config.oidc.clone().map(|oidc| Oidc::new(oidc, services.vault.secrets().clone())).transpose();
        let oidc = oidc.or_fail(Kind::Usage, || "can't sign in by `oidc.issuer`".into())?;
        let auth = Auth::new(AuthConfig { oidc, ..AuthConfig::default() }, services.vault.store().clone(), Clock);
        let given = config.admin_password.clone().map(Into::into);
        let password = auth.ensure_admin(given).await.or_fail(Kind::Usage, || "can't make the first admin".into())?;
        let workers = match config.workers_token.clone() {
            Some(token) => {
                let build = sandbox::build().or_fail(Kind::Failed, || "can't start the sandbox".into())?;
                Some(WorkersConfig { token: token.into(), build })
            }
            None => None,
        };
        let pods = match fleets {
            Some((fleets, cluster)) => {
                let installation = services::installation(services.vault.store()).await?;
                let installation = uuid::Uuid::from_bytes(installation).simple().to_string();
                Some(Pods::start(fleets, cluster, installation, services.scheduler.clone()))
            }
            None => None,
        };
        let api = ApiConfig { workers, settings: Arc::clone(&config.shown), ..ApiConfig::default() };
        let app = router(&services, &auth, api, stopping);
        Ok(Self { services, pods, app, password })
    }

    fn tell_password(&self) -> Result<()> {
        match &self.password {
            Some(password) => print(&format!("user: admin  password: {}  (shown once)\n", password.expose())),
            None => Ok(()),
        }
    }
}

/// Passes on to whoever leads, until this process does, if it may.
async fn serve_as_member(
    member: &Member,
    start: Option<(impl AsyncFnOnce(&Agreement) -> Result<Leading>, Agreement, impl Future<Output = CliError>)>,
    (served, stopping): (impl AsyncFnOnce(Router), &CancellationToken),
) -> Result<()> {
    let app = Switch::new(member.router());
    let turn = async {
        let Some((start, agreement, keys)) = start else {
            stopping.cancelled().await;
            return Ok(None);
        };
        let lead = tokio::select! {
            lead = stopping.run_until_cancelled(member.lead()) => lead,
            refused = agreement.keep(Role::Waits) => return Err(refused),
            refused = keys => return Err(refused),
        };
        let Some(lead) = lead else { return Ok(None) };
        // A long history takes its time: the lease is kept meanwhile.
        let leading = tokio::select! {
            leading = start(&agreement) => leading?,
            lost = lead.keep() => return Err(lost),
        };
        leading.tell_password()?;
        app.set(member.behind(leading.app));
        let ended = async {
            tokio::select! {
                lost = lead.keep() => lost,
                refused = agreement.keep(Role::Leads) => refused,
            }
        };
        match stopping.run_until_cancelled(ended).await {
            // What is in flight is started again by the next one.
            Some(lost) => Err(lost),
            None => Ok(Some((leading.services, leading.pods, lead))),
        }
    };
    let served = served(app.router());
    let (mut turn, mut served) = (std::pin::pin!(turn), std::pin::pin!(served));
    let leading = tokio::select! {
        ended = &mut turn => {
            let leading = ended?;
            served.await;
            leading
        }
        () = &mut served => turn.await?,
    };
    if let Some((services, pods, lead)) = leading {
        drop(pods);
        tokio::select! {
            () = services.stop_and(async || lead.release().await) => {}
            // Once it is given back it can't be renewed either.
            _ = lead.keep() => {}
        }
    }
    Ok(())
}

fn announce(scheme: &str, address: SocketAddr) -> Result<()> {
    tracing::info!(%address, "serving");
    print(&format!("airlock {} serves {scheme}://{address}\n", env!("CARGO_PKG_VERSION")))
}

/// Where others reach `address`.
fn url_of(scheme: &str, address: SocketAddr) -> Result<String> {
    if address.ip().is_unspecified() {
        return Err(CliError::text(Kind::Usage, format!("other processes can't reach `{address}`"))
            .hint("say by AIRLOCK_CLUSTER_URL where this process is reached, as http://10.0.0.5:8080"));
    }
    Ok(format!("{scheme}://{address}"))
}

/// `url`, by which others are to reach this process.
fn reached_by(url: &str, has_tls: bool) -> Result<String> {
    let wrong = |why: &str| CliError::text(Kind::Usage, format!("`cluster.url` can't be `{url}`: {why}"));
    let url = in_brackets(url).unwrap_or_else(|| url.to_owned());
    let scheme = reqwest::Url::parse(&url).ok().filter(reqwest::Url::has_host).map(|url| url.scheme().to_owned());
    match scheme.as_deref() {
        // What processes show each other, and what users show them, would pass in the clear before it is refused.
        Some("http") if has_tls => Err(wrong("this process speaks TLS only, as `tls.cert` is set")
            .hint("name it as https://, by a name or address that is in its certificate")),
        Some("http" | "https") => Ok(url),
        _ => Err(wrong("it is no address of a server").hint("name it as http://10.0.0.5:8080")),
    }
}

/// `url` with brackets, if they are missing round an address of IPv6 that its port follows: manifests put a pod's address in as it is.
fn in_brackets(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (address, port) = authority.rsplit_once(':')?;
    let address: Ipv6Addr = address.parse().ok()?;
    Some(format!("{scheme}://[{address}]:{port}{path}"))
}

/// The page and the API on one address.
fn router(services: &Services, auth: &Auth, config: ApiConfig, stopping: &CancellationToken) -> Router {
    let Services { scheduler, blobs, vault, .. } = services;
    let state = ApiState::new(scheduler.clone(), blobs.clone(), vault.clone(), auth.clone(), config);
    let ui = ui::router(UiState::new(&state, stopping.clone()));
    let measured = from_fn_with_state(scheduler.metrics().clone(), api::guard::measure);
    api::router(state).merge(ui).layer(from_fn(api::guard::ask)).layer(measured)
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let bound = match TcpListener::bind(address).await {
        // All addresses are those of IPv4, where there is no IPv6.
        Err(error)
            if address.ip() == Ipv6Addr::UNSPECIFIED
                && error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    let listener = bound.map_err(|error| {
        CliError::new(Kind::Failed, anyhow::Error::new(error).context(format!("can't listen on {address}")))
            .hint("name another address with --listen or AIRLOCK_LISTEN")
    })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Connections and runners are files: what the system allows, it allows, and it is no fault if it does not. Memory holds secrets, which
/// no file may show after a crash.
fn limit_process() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn a_pods_address_is_one_of_a_server_whatever_its_family() {
        for (given, read) in [
            ("http://10.0.0.5:8080", Some("http://10.0.0.5:8080")),
            ("http://fd00:10:244::5:8080", Some("http://[fd00:10:244::5]:8080")),
            ("https://fd00:1:2:3:4:5:6:7:8443/airlock", Some("https://[fd00:1:2:3:4:5:6:7]:8443/airlock")),
            ("http://[fd00::5]:8080", Some("http://[fd00::5]:8080")),
            ("http://airlock", Some("http://airlock")),
            // Without a port nobody knows which part of it is one.
            ("http://fd00::5", None),
            ("http://fd00::5:http", None),
            ("10.0.0.5:8080", None),
        ] {
            assert_eq!(reached_by(given, false).ok().as_deref(), read, "{given}");
        }
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_ipv4_too() {
        let (_listener, address) = listen("[::]:0".parse().unwrap()).await.unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).await.unwrap();
    }
}
