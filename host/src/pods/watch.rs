//! Looks at the pods of an installation: lists them, then is told of each change. Whatever ends a watch, it goes on where that one ended, or
//! lists them anew.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
};
use tokio::{sync::mpsc, time::Instant};

use super::cluster::{Failed, within};

/// How long one watch goes on.
const WATCH: Duration = Duration::from_mins(1);
/// A watch that says nothing for so much longer is dead.
const GRACE: Duration = Duration::from_secs(15);
/// The first pause after a failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What is seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// All pods there are, and when that was asked.
    All { pods: Vec<Pod>, asked_at: Instant },
    /// One that is there, as it is now.
    One(Box<Pod>),
    /// One that is there no more, as it was.
    Gone(Box<Pod>),
    /// The cluster can't be looked at just now.
    Nothing(String),
}

/// Looks at the pods with these labels until nobody listens.
pub(super) async fn watch(api: Api<Pod>, labels: String, tell: mpsc::Sender<Seen>) {
    let mut pause = FIRST_PAUSE;
    while !tell.is_closed() {
        let begun = Instant::now();
        if let Err(error) = look(&api, &labels, &tell).await {
            tracing::warn!(error = %error, "the pods can't be looked at");
            if tell.send(Seen::Nothing(error.to_string())).await.is_err() {
                return;
            }
        }
        pause = if begun.elapsed() > MAX_PAUSE { FIRST_PAUSE } else { (pause * 2).min(MAX_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

/// Lists, and follows, as long as that can be done without listing anew.
async fn look(api: &Api<Pod>, labels: &str, tell: &mpsc::Sender<Seen>) -> Result<(), Failed> {
    let asked_at = Instant::now();
    let list = within(api.list(&ListParams::default().labels(labels))).await?;
    let mut version = list.metadata.resource_version.unwrap_or_default();
    if tell.send(Seen::All { pods: list.items, asked_at }).await.is_err() {
        return Ok(());
    }
    let params = WatchParams::default().labels(labels).timeout(u32::try_from(WATCH.as_secs()).unwrap_or(u32::MAX));
    loop {
        let begun = Instant::now();
        let events = within(api.watch(&params, &version)).await?;
        let mut events = pin!(events);
        loop {
            let event = match tokio::time::timeout(WATCH + GRACE, events.next()).await {
                Ok(Some(event)) => event?,
                // Its time is over, or the connection is: the next one goes on.
                Ok(None) | Err(_) => break,
            };
            let seen = match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => Seen::One(Box::new(pod)),
                WatchEvent::Deleted(pod) => Seen::Gone(Box::new(pod)),
                WatchEvent::Bookmark(mark) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
                // 410: the version is too old to go on from.
                WatchEvent::Error(status) => return Err(Failed::Status(status)),
            };
            if let Seen::One(pod) | Seen::Gone(pod) = &seen
                && let Some(of_pod) = &pod.metadata.resource_version
            {
                version.clone_from(of_pod);
            }
            if tell.send(seen).await.is_err() {
                return Ok(());
            }
        }
        if begun.elapsed() < MAX_PAUSE {
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }
}
