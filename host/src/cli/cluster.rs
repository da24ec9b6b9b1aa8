//! Several processes on one database. One of them leads: it schedules, and answers everybody. The others pass on to it what they
//! are asked, and one of them takes over when it is gone.
//!
//! Who leads is a lease in the database (`store/lease.rs`). Whoever loses it ends: what it had in flight is started again by the
//! next one, and what it would still write is refused by the database. Of a leader whose process is gone (`presence`) nobody
//! waits for the end of the lease.

mod presence;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, Uri, header, uri::PathAndQuery},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use futures_util::StreamExt as _;
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::ServiceExt as _;
use uuid::Uuid;

use self::presence::{Looks, Present};
use super::error::{CliError, Kind, OrFail, Result};
use crate::{
    model::time::Clock,
    store::{Leader, Store, StoreError},
    telemetry::Duties,
};

/// How long a leader that says nothing stays the leader.
const LEASE: Duration = Duration::from_secs(10);
/// How often it says something.
const RENEW: Duration = Duration::from_secs(3);
/// How often the others look.
const LOOK: Duration = Duration::from_millis(500);
/// From here on a difference of clocks is told.
const MAX_CLOCK_DIFFERENCE_US: u64 = 5_000_000;
/// How long a connection to the leader may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The setting in the database that holds what processes show each other.
const TOKEN: &str = "cluster_token";
/// Shows that a request was passed on by another process.
const SHOWN: HeaderName = HeaderName::from_static("x-airlock-cluster");
/// Whom that process has it from.
const PEER: HeaderName = HeaderName::from_static("x-airlock-peer");
/// Whether its client speaks https with it.
const PROTO: HeaderName = HeaderName::from_static("x-airlock-proto");
/// As the door of this process leaves it: see `api::identity::is_https`.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// What is between two neighbours and not passed on: RFC 9110, 7.6.1.
const OF_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
];

/// This process among the others.
#[derive(Debug, Clone)]
pub struct Member {
    store: Store,
    present: Present,
    /// Where the others reach it.
    url: String,
    client: reqwest::Client,
    /// Who leads, as it was a moment ago.
    leader: watch::Receiver<Option<Leader>>,
    /// Who held the lease and is not there any more.
    gone: watch::Receiver<Option<String>>,
    _looking: Arc<[AbortOnDropHandle<()>; 2]>,
}

/// The lease, held.
#[derive(Debug)]
pub struct Lead {
    store: Store,
    holder: String,
    /// When it was asked for last.
    asked: Mutex<Instant>,
}

impl Member {
    /// One that is there until `stopping`, and reached at `url`. `duties` are told if it looks no more.
    ///
    /// # Errors
    /// If the database can't be used.
    pub async fn new(store: Store, url: String, stopping: CancellationToken, duties: &Duties) -> Result<Self> {
        let failed = || "can't use the database".to_owned();
        let new = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        store.setting_put_new(TOKEN, new.as_bytes()).await.or_fail(Kind::Failed, failed)?;
        let token = store.setting_get(TOKEN).await.or_fail(Kind::Failed, failed)?.unwrap_or_default();
        let token =
            String::from_utf8(token).or_fail(Kind::Failed, || "the setting `cluster_token` is damaged".into())?;
        // Another part of the process may have done so already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build()
            .or_fail(Kind::Failed, || "can't make requests".into())?;
        let present = Present { holder: Uuid::new_v4().to_string().into(), token: token.into(), stopping };
        store.show_presence(&present.holder).await.or_fail(Kind::Failed, failed)?;
        let ((seen, leader), (found_gone, gone)) = (watch::channel(None), watch::channel(None));
        let look = look(store.clone(), seen, Looks::new(gone.clone()));
        let watch = presence::watch(present.clone(), client.clone(), leader.clone(), found_gone);
        let looking =
            [duties.spawn("the look who leads", look), duties.spawn("the look whether who leads is there", watch)];
        Ok(Self { store, present, url, client, leader, gone, _looking: Arc::new(looking) })
    }

    /// Waits until this process leads. What it writes from then on is fenced. One that is older than the schema of the database waits for
    /// ever: it passes on what it is asked until it is ended.
    pub async fn lead(&self) -> Lead {
        let holder = &*self.present.holder;
        let mut looks = Looks::new(self.gone.clone());
        let mut told = Told::default();
        loop {
            let asked = Instant::now();
            match self.store.lease_take(holder, &self.url, LEASE, looks.gone().as_deref()).await {
                Ok(Some(epoch)) => {
                    tracing::info!(epoch, "this process leads");
                    self.compare_clocks().await;
                    self.store.fence(holder, epoch, (asked + LEASE).into_std());
                    return Lead { store: self.store.clone(), holder: holder.to_owned(), asked: Mutex::new(asked) };
                }
                Ok(None) => told.is_well(),
                Err(error @ StoreError::Newer { .. }) => {
                    told.tell(&error, "a newer airlock has changed the schema: this process leads no more; upgrade it");
                }
                Err(error) => told.tell(&error, "the lease can't be looked at"),
            }
            looks.next().await;
        }
    }

    /// Says so if this process's clock is not the database's: the lease goes by the latter, but dates of runs by the former.
    async fn compare_clocks(&self) {
        match self.store.clock_ahead_us(Clock.now()).await {
            Ok(ahead_us) if ahead_us.unsigned_abs() > MAX_CLOCK_DIFFERENCE_US => {
                tracing::warn!(
                    ahead_us,
                    "this machine's clock is not the database's, so that runs get wrong dates and object storage may refuse requests; \
                     set both by NTP"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the database's clock is not known"),
        }
    }

    /// The pages and the API of a process that does not lead: those of the leader.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            // Its stream is not passed on: it goes to whoever leads.
            .route("/api/v2/workers/stream", get(point_to_leader))
            .fallback(pass_on)
            .with_state(self.clone())
            .merge(presence::router(self.present.clone()))
    }

    /// Tells `app` of a request that another process passed on whom that process has it from.
    pub fn behind(&self, app: Router) -> Router {
        let token = Arc::clone(&self.present.token);
        app.layer(from_fn_with_state(token, take_over_peer)).merge(presence::router(self.present.clone()))
    }

    fn leader(&self) -> Option<Leader> {
        self.leader.borrow().clone()
    }

    /// Who leads, if it is another process. At the address of this one there is, for a moment, who led there before it, or who is about to lead.
    fn other_leader(&self) -> Option<Leader> {
        self.leader().filter(|leader| leader.url != self.url)
    }

    /// Waits until `leader` leads no more: what it was asked is not answered then.
    async fn end_of(self, leader: Leader) {
        let mut seen = self.leader.clone();
        let is_over = |now: &Option<Leader>| now.as_ref().is_none_or(|now| now.holder != leader.holder);
        // If nobody looks any more, the process ends.
        let _ = seen.wait_for(is_over).await;
    }
}

/// Looks who leads.
async fn look(store: Store, seen: watch::Sender<Option<Leader>>, mut looks: Looks) {
    let mut told = Told::default();
    loop {
        match store.leader().await {
            Ok(leader) => {
                told.is_well();
                seen.send_if_modified(|seen| {
                    let is_new = *seen != leader;
                    *seen = leader;
                    is_new
                });
            }
            Err(error) => told.tell(&error, "the leader is not known"),
        }
        looks.next().await;
    }
}

/// What was said of the database's errors: each is said once, however often it is looked.
#[derive(Debug, Default)]
struct Told(Option<String>);

impl Told {
    fn tell(&mut self, error: &StoreError, what: &str) {
        let why = error.to_string();
        if self.0.as_ref() != Some(&why) {
            tracing::warn!(error = error as &dyn std::error::Error, "{what}");
            self.0 = Some(why);
        }
    }

    fn is_well(&mut self) {
        self.0 = None;
    }
}

fn nobody_leads() -> Response {
    let text = "no process leads at this moment; try again in some seconds\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], text).into_response()
}

impl Lead {
    /// Keeps the lease until it is lost; the reason.
    pub async fn keep(&self) -> CliError {
        loop {
            let renewed = self.renewed();
            tokio::time::sleep_until((Instant::now() + RENEW).min(renewed + LEASE)).await;
            let asked = Instant::now();
            // When it was stopped for long, one more question: perhaps nobody else leads.
            let until = (renewed + LEASE).max(asked + CONNECT / 5);
            match tokio::time::timeout_at(until, self.store.lease_renew(&self.holder, LEASE)).await {
                Ok(Ok(true)) => {
                    *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
                    self.store.fence_until((asked + LEASE).into_std());
                }
                Ok(Ok(false)) => break,
                Ok(Err(error)) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the lease can't be renewed");
                }
                Err(_) => tracing::error!("the lease can't be renewed: the database does not answer"),
            }
            if self.renewed().elapsed() >= LEASE {
                break;
            }
        }
        CliError::text(
            Kind::Failed,
            "this process no longer leads: another one does, or the database is not reached, or was replaced",
        )
        .hint("start it again: it waits for its turn")
    }

    fn renewed(&self) -> Instant {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the lease back. Nothing is written after it.
    pub async fn release(&self) {
        if let Err(error) = self.store.lease_release(&self.holder).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the lease could not be given back; it ends by itself"
            );
        }
    }
}

/// An app that is replaced while it is served.
#[derive(Debug, Clone)]
pub struct Switch(Arc<RwLock<Router>>);

impl Switch {
    pub fn new(app: Router) -> Self {
        Self(Arc::new(RwLock::new(app)))
    }

    pub fn set(&self, app: Router) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = app;
    }

    pub fn router(&self) -> Router {
        Router::new()
            .fallback(async |State(Self(app)): State<Self>, request: Request| {
                let app = app.read().unwrap_or_else(PoisonError::into_inner).clone();
                // A router does not fail.
                app.oneshot(request).await.unwrap_or_else(|never| match never {})
            })
            .with_state(self.clone())
    }
}

async fn ready(State(member): State<Member>) -> Response {
    member.leader().map_or_else(nobody_leads, |_| "ok\n".into_response())
}

async fn point_to_leader(State(member): State<Member>, uri: Uri) -> Response {
    let Some(leader) = member.other_leader() else { return nobody_leads() };
    Redirect::temporary(&format!("{}{}", leader.url.trim_end_matches('/'), uri.path())).into_response()
}

/// The leader's answer.
async fn pass_on(
    State(member): State<Member>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    // Others may know the leader of before.
    if is_by_member(request.headers(), &member.present.token) {
        return nobody_leads();
    }
    let Some(leader) = member.other_leader() else { return nobody_leads() };
    let (parts, body) = request.into_parts();
    // Behind an address that ends with its port, anything but a `/` would begin another one.
    let path = parts.uri.path_and_query().map(PathAndQuery::as_str).filter(|path| path.starts_with('/'));
    let path = path.unwrap_or("/");
    let mut headers = parts.headers;
    let proto = headers.remove(FORWARDED_PROTO);
    strip(&mut headers);
    if let Some(proto) = proto {
        headers.insert(PROTO, proto);
    }
    let body = reqwest::Body::wrap_stream(body.into_data_stream());
    let answer = member
        .client
        .request(parts.method, format!("{}{path}", leader.url.trim_end_matches('/')))
        .headers(headers)
        .header(SHOWN, &*member.present.token)
        .header(PEER, peer.ip().to_string())
        .body(body)
        .send();
    let answer = tokio::select! {
        answer = answer => answer,
        () = member.clone().end_of(leader.clone()) => return nobody_leads(),
    };
    match answer {
        Ok(answer) => {
            let mut passed = Response::new(Body::empty());
            *passed.status_mut() = answer.status();
            *passed.headers_mut() = answer.headers().clone();
            strip(passed.headers_mut());
            *passed.body_mut() = Body::from_stream(answer.bytes_stream().take_until(Box::pin(member.end_of(leader))));
            passed
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, leader = leader.url, "the leader does not answer");
            if error.is_connect() {
                // Nothing was asked of it; soon another one leads.
                return nobody_leads();
            }
            let text = "the process that leads does not answer; try again in some seconds\n";
            (StatusCode::BAD_GATEWAY, [(header::RETRY_AFTER, "2")], text).into_response()
        }
    }
}

/// Takes away what is for the next neighbour only, and what nobody but a member may say.
fn strip(headers: &mut HeaderMap) {
    for name in OF_CONNECTION.iter().chain([&SHOWN, &PEER, &PROTO]) {
        headers.remove(name);
    }
}

/// Whether another process passed a request with these `headers` on.
fn is_by_member(headers: &HeaderMap, token: &str) -> bool {
    use sha2::{Digest as _, Sha256};
    // Compared by digests, which takes as long for any text.
    headers.get(SHOWN).is_some_and(|shown| Sha256::digest(shown.as_bytes()) == Sha256::digest(token.as_bytes()))
}

async fn take_over_peer(State(token): State<Arc<str>>, mut request: Request, next: Next) -> Response {
    let is_member = is_by_member(request.headers(), &token);
    request.headers_mut().remove(SHOWN);
    let peer = request.headers_mut().remove(PEER);
    let proto = request.headers_mut().remove(PROTO);
    let peer = peer.as_ref().and_then(|peer| peer.to_str().ok()).and_then(|peer| peer.parse::<IpAddr>().ok());
    if let (true, Some(peer)) = (is_member, peer) {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer, 0)));
        if let Some(proto) = proto {
            request.headers_mut().insert(FORWARDED_PROTO, proto);
        }
    }
    next.run(request).await
}
