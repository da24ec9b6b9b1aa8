//! Whether the process that leads is still there. Each of the others holds an answer of it open: that ends with the process, however it
//! ends, at once where its system is left to say so. Then it is asked again, and counts as gone if nobody listens at its address, or
//! somebody else does.
//!
//! A process that is stopped, or cut off, is not gone: for it there is the end of the lease.

use std::{
    convert::Infallible,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{CONNECT, LOOK, SHOWN, is_by_member};
use crate::{model::causes::causes, store::Leader};

/// Where a process says who it is, for as long as it is there.
const PATH: &str = "/cluster/presence";
/// From one question to the next at least: connections may be cut by others than their ends.
const PAUSE: Duration = Duration::from_millis(100);
/// How soon after the leader was found gone it is looked who leads; it is looked less and less often from then on.
const SOON: Duration = Duration::from_millis(20);
/// Of the first line of an answer: no name of a process is longer.
const MAX_NAME: usize = 64;

/// A process as it shows itself to the others.
#[derive(Debug, Clone)]
pub(super) struct Present {
    pub holder: Arc<str>,
    pub token: Arc<str>,
    /// When it ends, nobody is kept waiting for its answers.
    pub stopping: CancellationToken,
}

/// What a process is found to be, by asking.
enum Found {
    /// What it still says: nothing, until it ends.
    There(Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send + Unpin>),
    Gone,
    /// It does not answer, or not as one of this version would.
    Unknown,
}

/// How often the database is asked who leads.
pub(super) struct Looks {
    gone: watch::Receiver<Option<String>>,
    pause: Duration,
}

impl Looks {
    pub fn new(gone: watch::Receiver<Option<String>>) -> Self {
        Self { gone, pause: LOOK }
    }

    /// The holder of the lease, if its process is not there.
    pub fn gone(&self) -> Option<String> {
        self.gone.borrow().clone()
    }

    /// Waits until it is time to look again.
    pub async fn next(&mut self) {
        tokio::select! {
            // If nobody looks for it any more, the process ends.
            Ok(()) = self.gone.changed() => self.pause = SOON,
            () = tokio::time::sleep(self.pause) => self.pause = (self.pause * 2).min(LOOK),
        }
    }
}

/// Where `present` shows itself.
pub(super) fn router(present: Present) -> Router {
    Router::new().route(PATH, get(show)).with_state(present)
}

async fn show(State(present): State<Present>, headers: HeaderMap) -> Response {
    if !is_by_member(&headers, &present.token) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let name = Ok::<_, Infallible>(Bytes::from(format!("{}\n", present.holder)));
    let said = stream::once(async { name }).chain(stream::pending());
    Body::from_stream(said.take_until(present.stopping.cancelled_owned())).into_response()
}

/// Keeps `gone` as it is found: the holder of the lease if its process is not there.
pub(super) async fn watch(
    present: Present,
    client: reqwest::Client,
    mut leader: watch::Receiver<Option<Leader>>,
    gone: watch::Sender<Option<String>>,
) {
    loop {
        let leads = leader.borrow_and_update().clone();
        let watched = async {
            match leads.filter(|leader| *leader.holder != *present.holder) {
                Some(other) => follow(&client, &present.token, &other, &gone).await,
                None => std::future::pending().await,
            }
        };
        let changed = tokio::select! {
            never = watched => match never {},
            changed = leader.changed() => changed,
        };
        if changed.is_err() {
            // If nobody looks any more, the process ends.
            return;
        }
    }
}

async fn follow(
    client: &reqwest::Client,
    token: &str,
    leader: &Leader,
    gone: &watch::Sender<Option<String>>,
) -> Infallible {
    loop {
        let asked = Instant::now();
        let found = ask(client, token, leader).await;
        let found_gone = matches!(found, Found::Gone).then(|| leader.holder.clone());
        let is_new = gone.send_if_modified(|gone| {
            let is_new = *gone != found_gone;
            *gone = found_gone;
            is_new
        });
        match found {
            Found::There(mut said) => while let Some(Ok(_)) = said.next().await {},
            Found::Gone if is_new => {
                tracing::warn!(
                    holder = leader.holder,
                    url = leader.url,
                    "the process that leads is not there any more"
                );
            }
            Found::Gone | Found::Unknown => {}
        }
        tokio::time::sleep(PAUSE.saturating_sub(asked.elapsed())).await;
    }
}

async fn ask(client: &reqwest::Client, token: &str, leader: &Leader) -> Found {
    let asked = client.get(format!("{}{PATH}", leader.url.trim_end_matches('/'))).header(SHOWN, token).send();
    let answer = match timeout(CONNECT, asked).await {
        Ok(Ok(answer)) if answer.status().is_success() => answer,
        Ok(Err(error)) if is_refused(&error) => return Found::Gone,
        _ => return Found::Unknown,
    };
    let mut said = Box::new(answer.bytes_stream());
    let mut name = Vec::new();
    while !name.ends_with(b"\n") && name.len() <= MAX_NAME {
        match timeout(CONNECT, said.next()).await {
            Ok(Some(Ok(piece))) => name.extend_from_slice(&piece),
            _ => return Found::Unknown,
        }
    }
    if name.trim_ascii_end() == leader.holder.as_bytes() { Found::There(said) } else { Found::Gone }
}

/// Whether the system at the address says that nobody listens there.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
