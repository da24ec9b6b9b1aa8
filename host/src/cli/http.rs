//! Sockets: accepts connections, hands their requests to the router, and ends in good order.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use futures_util::FutureExt;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tower::ServiceExt;

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8_192;
/// A client that takes longer to send a request's head is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// How long requests may go on after the server was told to end. Streams of events never end by themselves.
const GRACE: Duration = Duration::from_secs(3);
/// How long to wait when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `app` on `listener` until `end`, and then what is under way for a little longer.
pub async fn serve(listener: TcpListener, app: Router, end: impl Future<Output = ()>) {
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_TIMEOUT);
    let server = Arc::new(server);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
        // Answers are small: waiting to fill a packet would only delay them.
        let _ = socket.set_nodelay(true);
        let service = TowerToHyperService::new(for_peer(app.clone(), peer));
        let server = Arc::clone(&server);
        let watcher = graceful.watcher();
        connections.spawn(async move {
            let connection = server.serve_connection_with_upgrades(TokioIo::new(socket), service);
            // A client that goes away is no fault of the server.
            let _ = watcher.watch(connection).await;
            drop(slot);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::debug!(connections = connections.len(), "connections that did not end are closed");
    }
    connections.shutdown().await;
}

/// `app`, told where its requests come from.
fn for_peer(
    app: Router,
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
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request.map(Body::new)).boxed()
    })
}
