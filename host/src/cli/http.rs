//! Sockets: accepts connections, hands their requests to the router, and ends in good order.
//!
//! No client can keep others out: each address has so many connections, and none waits for ever for its client to speak, to send
//! on, or to read.

mod pace;
mod patience;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Once},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, HeaderName, HeaderValue, Request, header},
};
use futures_util::{FutureExt, TryFutureExt as _};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tower::ServiceExt;

use self::{pace::Paced, patience::Patient};
use super::tls::Tls;
use crate::{
    api::{
        held::{Counted, Held},
        identity::is_https,
    },
    model::{
        proxies::{TrustedProxies, network_of},
        shares::{Full, Share, Shares},
    },
};

/// Where a proxy says whom it was asked by, and over what.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Browsers that were here over TLS come by nothing else for a year.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8_192;
/// Those of one address; it gets no more, unless it is a proxy that is named.
const MAX_OF_ADDRESS: usize = 1_024;
/// A client that takes longer to begin, or to send a request's head, is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Proxies keep connections for requests to come, those of Google Cloud for 10 minutes: what one sends while we close it is lost.
const PROXY_HEAD_TIMEOUT: Duration = Duration::from_secs(620);
/// A client that takes none of its answer for so long is cut off.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Requests of one HTTP/2 connection at a time.
const MAX_REQUESTS: u32 = 100;
/// How long requests may go on after the server was told to end. Streams of events never end by themselves.
const GRACE: Duration = Duration::from_secs(3);
/// How long to wait when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// It is told once: anybody may send the header.
static UNNAMED_PROXY: Once = Once::new();

/// What stands between the network and the router.
#[derive(Clone, Default)]
pub struct Front {
    /// None: what comes is plain HTTP.
    pub tls: Option<Tls>,
    pub proxies: TrustedProxies,
}

/// Serves `app` on `listener` until `end`, and then what is under way for a little longer.
pub async fn serve(listener: TcpListener, app: Router, front: Front, end: impl Future<Output = ()>) {
    let front = Arc::new(front);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let addresses = Shares::new(MAX_CONNECTIONS, MAX_OF_ADDRESS);
    let held = Arc::new(Held::default());
    let mut connections = JoinSet::new();
    let mut end = std::pin::pin!(end);
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, (socket, peer)) = tokio::select! {
            () = &mut end => break,
            (slot, accepted) = accept => match accepted {
                Ok(accepted) => (slot, accepted),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Ok(place) = place(&front.proxies, &addresses, peer.ip()) else {
            tracing::debug!(%peer, "an address has too many connections");
            continue;
        };
        // Answers are small: waiting to fill a packet would only delay them.
        let _ = socket.set_nodelay(true);
        let service = TowerToHyperService::new(for_peer(app.clone(), Arc::clone(&front), Arc::clone(&held), peer));
        let server = server(head_timeout(&front.proxies, peer.ip()));
        let front = Arc::clone(&front);
        let watcher = graceful.watcher();
        connections.spawn(async move {
            // A client that goes away, or does not speak TLS, is no fault of the server.
            match &front.tls {
                None => {
                    let connection = server.serve_connection_with_upgrades(patient(socket), service);
                    let _ = watcher.watch(connection).await;
                }
                Some(tls) => match tls.accept(socket).await {
                    Ok(stream) => {
                        let connection = server.serve_connection_with_upgrades(patient(stream), service);
                        let _ = watcher.watch(connection).await;
                    }
                    Err(error) => tracing::debug!(%error, %peer, "no agreement on keys"),
                },
            }
            drop((slot, place));
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::debug!(connections = connections.len(), "connections that did not end are closed");
    }
    connections.shutdown().await;
}

/// How long the head of a request is waited for: the first on its connection, and each that follows.
fn head_timeout(proxies: &TrustedProxies, peer: IpAddr) -> Duration {
    if proxies.trusts(peer) { PROXY_HEAD_TIMEOUT } else { HEAD_TIMEOUT }
}

fn server(head_timeout: Duration) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_TIMEOUT).max_concurrent_streams(MAX_REQUESTS);
    server
}

fn patient<S>(socket: S) -> TokioIo<Patient<S>> {
    TokioIo::new(Patient::new(socket, HEAD_TIMEOUT, STALL_TIMEOUT))
}

/// The place of a connection of `peer` among those of its address; proxies that are named need none.
fn place(proxies: &TrustedProxies, addresses: &Shares<IpAddr>, peer: IpAddr) -> Result<Option<Share<IpAddr>>, Full> {
    if proxies.trusts(peer) { Ok(None) } else { addresses.take(&network_of(peer), 1).map(Some) }
}

/// `app`, told where its requests come from, and whether they came over TLS.
fn for_peer(
    app: Router,
    front: Arc<Front>,
    held: Arc<Held>,
    peer: SocketAddr,
) -> impl tower::Service<
    Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    tower::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        let client = front.client(peer, request.headers_mut());
        let is_secure = is_https(request.headers());
        if let Some(host) = authority(&request) {
            request.headers_mut().entry(header::HOST).or_insert(host);
        }
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, peer.port())));
        let holding = held.holding(network_of(client));
        request.extensions_mut().insert(Arc::clone(&holding));
        let counts = Arc::clone(&holding);
        let answer = app.clone().oneshot(request.map(|body| Body::new(Counted::new(Paced::new(body), counts))));
        let answer = answer.map_ok(move |mut response| {
            if let Some(refusal) = holding.refusal() {
                response = refusal;
            }
            if is_secure {
                response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
            }
            response
        });
        answer.boxed()
    })
}

/// The host that HTTP/2 names beside the headers.
fn authority(request: &Request<hyper::body::Incoming>) -> Option<HeaderValue> {
    HeaderValue::from_str(request.uri().authority()?.as_str()).ok()
}

impl Front {
    /// Whom a request comes from, as far as that is believed. Leaves no header that says otherwise.
    fn client(&self, peer: SocketAddr, headers: &mut HeaderMap) -> IpAddr {
        let is_believed = self.proxies.trusts(peer.ip());
        let client = if is_believed {
            let named: Vec<_> = headers
                .get_all(FORWARDED_FOR)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|line| line.split(','))
                .collect();
            self.proxies.client(peer.ip(), named.into_iter())
        } else {
            if headers.remove(FORWARDED_PROTO).is_some() {
                UNNAMED_PROXY.call_once(|| {
                    let peer = peer.ip();
                    tracing::warn!(%peer, "a proxy is not believed: if it is yours, name it in `server.trusted_proxies`");
                });
            }
            peer.ip()
        };
        if self.tls.is_some() && !is_believed {
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
        } else if self.tls.is_some() {
            // A proxy that speaks TLS to us may have been spoken to without.
            headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("https"));
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_a_named_proxy_are_closed_by_the_proxy() {
        let proxies: TrustedProxies = "10.0.0.0/8".parse().unwrap();
        for (peer, is_patient) in [("10.0.0.7", true), ("::ffff:10.0.0.7", true), ("192.0.2.7", false)] {
            // No proxy that we know keeps one for longer than 10 minutes.
            let waits = head_timeout(&proxies, peer.parse().unwrap());
            assert_eq!(waits > Duration::from_mins(10), is_patient, "{peer}");
        }
    }
}
