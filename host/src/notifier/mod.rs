//! Tells people and dags how runs and tasks ended: delivers the callbacks that the scheduler committed.
//!
//! It promises at least once: a delivery whose end is not noted, because the server was killed, is made again. What can't be
//! delivered is tried again, further and further apart, for a day. It leaves out what is told of, which the scheduler
//! decides, and how a run is started, which [`StartRun`] does.

mod email;
mod notice;
mod webhook;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

pub use self::notice::Notice;
use crate::{
    connections::{Connections, Lookups, Reach, Resolver},
    model::{
        callback::Target,
        causes,
        ids::{ConnectionId, DagId},
        time::{Clock, Timestamp},
    },
    store::{CallbackNew, CallbackRow, Store, StoreError},
    telemetry::Metrics,
};

/// Callbacks that are read at a time.
const BATCH: u32 = 64;
/// Deliveries at a time.
const AT_ONCE: usize = 8;
/// How long one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_hours(1);
/// After this, a callback counts as failed.
const GIVE_UP: Duration = Duration::from_hours(24);
/// How long it sleeps if nothing is to be done, or the database can't be read.
const IDLE: Duration = Duration::from_mins(1);

/// Why a callback was not delivered; the text is for people and holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotifyError(String);

/// Starts a run that tells a notice; however often it is asked for the same callback, it is one run.
pub trait StartRun: Send + Sync {
    /// The error is a text for people.
    fn start<'a>(
        &'a self,
        dag_id: &'a DagId,
        callback: &'a CallbackNew,
        notice: &'a Notice,
    ) -> BoxFuture<'a, Result<(), String>>;
}

/// Delivers callbacks.
#[derive(Clone)]
pub struct Notifier {
    store: Store,
    connections: Connections,
    client: reqwest::Client,
    clock: Clock,
    runs: Arc<dyn StartRun>,
    metrics: Metrics,
}

impl Notifier {
    /// # Errors
    /// If the system's certificates can't be used.
    pub fn new(
        store: Store,
        connections: Connections,
        runs: Arc<dyn StartRun>,
        metrics: Metrics,
    ) -> Result<Self, reqwest::Error> {
        // Answers with an error if one is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .user_agent(concat!("airlock/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Resolver { reach: Reach::Private, lookups: Lookups::default() }))
            .build()?;
        Ok(Self { store, connections, client, clock: Clock, runs, metrics })
    }

    /// Delivers until it is dropped.
    pub async fn run(self) {
        loop {
            let wait = match self.deliver_due().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "callbacks can't be delivered now; this is tried again"
                    );
                    IDLE
                }
            };
            // Either way it is time to look.
            let _ = tokio::time::timeout(wait, self.store.callback_added()).await;
        }
    }

    /// Delivers what is due. Answers how long there is nothing more to do.
    async fn deliver_due(&self) -> Result<Duration, StoreError> {
        loop {
            let mut rows = self.store.callback_due(BATCH).await?;
            let now = self.clock.now();
            let later = rows.split_off(rows.partition_point(|row| row.due_at <= now));
            if rows.is_empty() {
                return Ok(later.first().map_or(IDLE, |row| row.due_at.since(now).min(IDLE)));
            }
            let mut tried = stream::iter(rows).map(|row| self.deliver(row)).buffer_unordered(AT_ONCE);
            while let Some(noted) = tried.next().await {
                noted?;
            }
        }
    }

    async fn deliver(&self, row: CallbackRow) -> Result<(), StoreError> {
        let callback = &row.callback;
        // One that panics has failed as others do: nobody else would be told any more.
        let sent = match AssertUnwindSafe(self.tell(callback)).catch_unwind().await {
            Ok(sent) => sent?,
            Err(_) => Err(NotifyError("the server failed at it; its log says more".to_owned())),
        };
        self.metrics.callback_tried(sent.is_ok());
        let now = self.clock.now();
        match sent {
            Ok(()) => self.store.callback_tried(row.key, Ok(()), now).await,
            Err(NotifyError(why)) => {
                tracing::warn!(target_name = %callback.target, event = callback.event.as_str(), "a callback was not delivered: {why}");
                self.store.callback_tried(row.key, Err((&why, next_try(&row, now))), now).await
            }
        }
    }

    /// Makes one delivery; the outer error is that the database can't be read.
    async fn tell(&self, callback: &CallbackNew) -> Result<Result<(), NotifyError>, StoreError> {
        let Some(run) = self.store.dag_run_get_by_key(callback.dag_run).await? else {
            return Ok(Err(NotifyError("the run was deleted".to_owned())));
        };
        let notice = Notice::new(callback, &run);
        Ok(match &callback.target {
            Target::Connection(connection) => self.send(connection, &notice).await,
            Target::Dag(dag_id) => self.runs.start(dag_id, callback, &notice).await.map_err(NotifyError),
        })
    }

    /// Tells `notice` by a connection.
    ///
    /// # Errors
    /// If there is no such connection, its type is none that tells, or the other side does not take it.
    pub async fn send(&self, connection: &ConnectionId, notice: &Notice) -> Result<(), NotifyError> {
        let opened = self.connections.open(connection).await.map_err(|error| {
            tracing::error!(%connection, error = &error as &dyn std::error::Error, "a connection can't be read");
            NotifyError("the connection can't be read; the server's log says why".to_owned())
        })?;
        let opened = opened.ok_or_else(|| NotifyError(format!("there is no connection `{connection}`")))?;
        match opened.row.conn_type.as_str() {
            "http" | "https" => webhook::send(&self.connections, &self.client, &opened, notice).await,
            "smtp" | "email" => email::send(&opened, notice).await,
            other => Err(NotifyError(format!(
                "connection `{connection}` is of type `{other}`; callbacks are told by `http` and `smtp`"
            ))),
        }
    }
}

/// When a callback that could not be delivered at `now` is tried again; none if it is too old.
fn next_try(row: &CallbackRow, now: Timestamp) -> Option<Timestamp> {
    if now.since(row.created_at) >= GIVE_UP {
        return None;
    }
    let doubled = FIRST_RETRY.checked_mul(1_u32.checked_shl(row.attempts).unwrap_or(u32::MAX)).unwrap_or(LONGEST_RETRY);
    Some(now.after(doubled.min(LONGEST_RETRY)))
}

/// An error and its causes, on one line; what it was sent to is left out, as a webhook's URL is a secret.
fn chain(error: reqwest::Error) -> String {
    causes::chain(&error.without_url())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        model::{
            callback::CallbackEvent,
            ids::RunId,
            spec::{DagSpec, EntrySpec, ModuleSpec, NodeSpec},
            state::RunState,
        },
        secrets::{Secrets, SecretsConfig},
        store::{Commit, ConnectionRow, DagRunKey, DagRunNew, Deploy, Page, StoreConfig},
        vault::Vault,
    };

    /// Notes which dags it was to start, and panics at `bad`.
    #[derive(Default)]
    struct Started(Mutex<Vec<String>>);

    impl StartRun for Started {
        fn start<'a>(
            &'a self,
            dag_id: &'a DagId,
            _: &'a CallbackNew,
            _: &'a Notice,
        ) -> BoxFuture<'a, Result<(), String>> {
            Box::pin(async move {
                assert_ne!(dag_id.as_str(), "bad");
                self.0.lock().unwrap().push(dag_id.to_string());
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn a_delivery_that_panics_has_failed_and_the_others_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::of_test(folder.path()).await).await.unwrap();
        let now = Clock.now();
        let work = EntrySpec::new("work");
        let dag = DagSpec { nodes: vec![NodeSpec::new("t", "work")], ..DagSpec::new("told") };
        let module = ModuleSpec { sdk: "test".into(), entries: vec![work], dags: vec![dag], ..ModuleSpec::default() };
        let dag = store.deploy(&Deploy::of_test(1, module, now)).await.unwrap().remove(0);
        let run = DagRunNew {
            state: RunState::Failed,
            start_date: Some(now),
            ..DagRunNew::queued(DagRunKey(1), dag.dag_id, RunId::new("r").unwrap(), dag.version, now)
        };
        let callback = |target: &str| CallbackNew {
            dag_run: run.key,
            task_id: None,
            map_index: -1,
            number: 0,
            event: CallbackEvent::Failure,
            subject: None,
            target: target.parse().unwrap(),
            message: None,
        };
        let callbacks = vec![callback("dag:bad"), callback("dag:good"), callback("cloud")];
        let commit = Commit { dag_runs_new: vec![run], callbacks, now, ..Commit::default() };
        store.commit(&commit).await.unwrap();
        let cloud = ConnectionRow {
            id: ConnectionId::new("cloud").unwrap(),
            conn_type: "http".into(),
            description: None,
            host: Some("169.254.169.254".into()),
            schema: None,
            login: None,
            port: None,
            sealed_password: None,
            sealed_extra: None,
            updated_at: now,
        };
        store.connection_put(&cloud).await.unwrap();

        let secrets = Secrets::open(&SecretsConfig::default(), folder.path()).unwrap();
        let connections = Connections::new(Vault::new(store.clone(), secrets));
        let started = Arc::new(Started::default());
        let runs: Arc<dyn StartRun> = started.clone();
        let notifier = Notifier::new(store.clone(), connections, runs, Metrics::default()).unwrap();
        notifier.deliver_due().await.unwrap();
        assert_eq!(*started.0.lock().unwrap(), ["good"]);
        let told = store.callback_list(DagRunKey(1), Page::default()).await.unwrap().items;
        let states: Vec<_> = told.iter().map(|row| (row.state.as_str(), row.attempts, row.error.is_some())).collect();
        assert_eq!(states, [("pending", 1, true), ("delivered", 1, false), ("pending", 1, true)]);
        assert!(told[2].error.as_deref().is_some_and(|why| why.contains("link-local")), "{:?}", told[2].error);
    }

    #[test]
    fn deliveries_are_tried_again_further_and_further_apart_for_a_day() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let row = |attempts| CallbackRow {
            key: 1,
            callback: CallbackNew {
                dag_run: DagRunKey(1),
                task_id: None,
                map_index: -1,
                number: 0,
                event: CallbackEvent::Failure,
                subject: None,
                target: "alerts".parse().unwrap(),
                message: None,
            },
            created_at: at(0),
            state: "pending".into(),
            attempts,
            due_at: at(0),
            error: None,
        };
        let waits = [0, 1, 2, 8, 9, 31, 32, 1_000].map(|attempts| next_try(&row(attempts), at(100)));
        assert_eq!(waits, [110, 120, 140, 2_660, 3_700, 3_700, 3_700, 3_700].map(|second| Some(at(second))));
        assert_eq!(next_try(&row(30), at(86_400)), None);
    }
}
