//! Traces for OpenTelemetry: a run is a trace, and each of its tries a span of it.
//!
//! Ids are made of what a span stands for, so that nothing has to be kept: a task that calls another system names the span of its
//! try before that span is told, and a server that was killed meanwhile names it the same.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::Metrics;
use crate::model::{
    ids::{DagId, RunId, TaskId},
    state::{RunState, RunType, TaskState},
    time::Timestamp,
};

/// Spans that wait to be sent; more are dropped, and counted.
const MAX_WAITING: usize = 16_384;
/// Spans that are sent at a time.
const BATCH: usize = 512;
/// How long a span waits for others to be sent with.
const GATHER: Duration = Duration::from_secs(1);
/// How long the receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where traces go. It can't be printed: headers may be secrets.
#[derive(Clone)]
pub struct TracesConfig {
    /// An OTLP endpoint for traces over HTTP, as `http://127.0.0.1:4318/v1/traces`.
    pub url: String,
    /// Headers of each request, as tokens.
    pub headers: HashMap<String, String>,
    /// Tells this installation from others that send to the same place.
    pub installation: [u8; 16],
}

/// Why traces can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("the HTTP client for traces can't be made")]
    Client(#[from] reqwest::Error),
    #[error("`traces.url` can't be used")]
    Exporter(#[from] ExporterBuildError),
}

/// The way of spans out of the server. Clones share it; the default leads nowhere and costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    sending: Option<Arc<Sending>>,
}

#[derive(Debug)]
struct Sending {
    installation: [u8; 16],
    scope: InstrumentationScope,
    spans: mpsc::Sender<SpanData>,
    metrics: Metrics,
}

/// A run that ended.
#[derive(Debug)]
pub struct RunSpan<'a> {
    /// The key of its row.
    pub dag_run: i64,
    pub dag_id: &'a DagId,
    pub run_id: &'a RunId,
    pub run_type: RunType,
    pub state: RunState,
    pub queued_at: Timestamp,
    pub started: Timestamp,
    pub ended: Timestamp,
}

/// Which attempt a span stands for.
#[derive(Debug)]
pub struct TryId<'a> {
    /// The key of its run's row.
    pub dag_run: i64,
    pub task_id: &'a TaskId,
    pub map_index: i32,
    pub try_number: u32,
    pub restart: u32,
}

/// A try of a task instance that ended.
#[derive(Debug)]
pub struct TrySpan<'a> {
    pub id: TryId<'a>,
    pub dag_id: &'a DagId,
    pub run_id: &'a RunId,
    /// Of its run.
    pub queued_at: Timestamp,
    /// What followed.
    pub state: TaskState,
    pub started: Timestamp,
    pub ended: Timestamp,
    pub message: Option<&'a str>,
}

impl Traces {
    /// Begins to send. What is told later than the returned task ends is dropped; it ends when all [`Traces`] are gone.
    ///
    /// # Errors
    /// If the URL is none, or the system's certificates can't be used.
    pub fn start(config: TracesConfig, metrics: Metrics) -> Result<(Self, impl Future<Output = ()>), TracesError> {
        // Answers with an error if one is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(config.url)
            .with_timeout(TIMEOUT)
            .with_headers(config.headers)
            .build()?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        exporter.set_resource(&Resource::builder_empty().with_service_name("airlock").with_attribute(version).build());
        let (spans, waiting) = mpsc::channel(MAX_WAITING);
        let scope = InstrumentationScope::builder("airlock").with_version(env!("CARGO_PKG_VERSION")).build();
        let sending = Sending { installation: config.installation, scope, spans, metrics: metrics.clone() };
        Ok((Self { sending: Some(Arc::new(sending)) }, send(exporter, waiting, metrics)))
    }

    /// Whether spans are sent.
    pub fn is_on(&self) -> bool {
        self.sending.is_some()
    }

    /// The span of an attempt, as W3C Trace Context writes it in the header `traceparent`; none if no spans are sent.
    pub fn traceparent(&self, id: &TryId<'_>) -> Option<String> {
        let sending = self.sending.as_ref()?;
        Some(format!("00-{}-{}-01", sending.trace(id.dag_run), sending.try_span(id)))
    }

    pub fn run_ended(&self, run: &RunSpan<'_>) {
        let Some(sending) = &self.sending else { return };
        let attributes = vec![
            KeyValue::new("airlock.dag_id", run.dag_id.to_string()),
            KeyValue::new("airlock.run_id", run.run_id.to_string()),
            KeyValue::new("airlock.run_type", run.run_type.as_str()),
            KeyValue::new("airlock.state", run.state.as_str()),
        ];
        let status = if run.state == RunState::Failed { Status::error("the run failed") } else { Status::Ok };
        sending.send(Span {
            trace: sending.trace(run.dag_run),
            id: sending.run_span(run.dag_run, run.queued_at),
            parent: SpanId::INVALID,
            name: format!("dag_run {}", run.dag_id),
            between: (run.started, run.ended),
            attributes,
            status,
        });
    }

    pub fn try_ended(&self, attempt: &TrySpan<'_>) {
        let Some(sending) = &self.sending else { return };
        let id = &attempt.id;
        let attributes = vec![
            KeyValue::new("airlock.dag_id", attempt.dag_id.to_string()),
            KeyValue::new("airlock.run_id", attempt.run_id.to_string()),
            KeyValue::new("airlock.task_id", id.task_id.to_string()),
            KeyValue::new("airlock.map_index", i64::from(id.map_index)),
            KeyValue::new("airlock.try_number", i64::from(id.try_number)),
            KeyValue::new("airlock.state", attempt.state.as_str()),
        ];
        let has_failed = matches!(attempt.state, TaskState::Failed | TaskState::UpForRetry);
        let status =
            if has_failed { Status::error(attempt.message.unwrap_or_default().to_owned()) } else { Status::Ok };
        sending.send(Span {
            trace: sending.trace(id.dag_run),
            id: sending.try_span(id),
            parent: sending.run_span(id.dag_run, attempt.queued_at),
            name: format!("task_instance {}", id.task_id),
            between: (attempt.started, attempt.ended),
            attributes,
            status,
        });
    }
}

/// What differs between spans.
struct Span {
    trace: TraceId,
    id: SpanId,
    parent: SpanId,
    name: String,
    between: (Timestamp, Timestamp),
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Sending {
    fn hash<const N: usize>(&self, parts: &[&[u8]]) -> [u8; N] {
        let mut hash = Sha256::new_with_prefix(self.installation);
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let hash = hash.finalize();
        std::array::from_fn(|at| hash.get(at).copied().unwrap_or_default())
    }

    fn trace(&self, dag_run: i64) -> TraceId {
        TraceId::from_bytes(self.hash(&[b"run", &dag_run.to_le_bytes()]))
    }

    /// A run that is run again is another span of its trace: it was queued again.
    fn run_span(&self, dag_run: i64, queued_at: Timestamp) -> SpanId {
        SpanId::from_bytes(self.hash(&[b"run", &dag_run.to_le_bytes(), &queued_at.as_micros().to_le_bytes()]))
    }

    fn try_span(&self, id: &TryId<'_>) -> SpanId {
        SpanId::from_bytes(self.hash(&[
            b"try",
            &id.dag_run.to_le_bytes(),
            id.task_id.as_str().as_bytes(),
            &id.map_index.to_le_bytes(),
            &id.try_number.to_le_bytes(),
            &id.restart.to_le_bytes(),
        ]))
    }

    fn send(&self, span: Span) {
        let (start, end) = span.between;
        let data = SpanData {
            span_context: SpanContext::new(span.trace, span.id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: span.parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: span.name.into(),
            start_time: SystemTime::from(start.to_utc()),
            end_time: SystemTime::from(end.to_utc()),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.status,
            instrumentation_scope: self.scope.clone(),
        };
        if self.spans.try_send(data).is_err() {
            self.metrics.spans_dropped(1);
        }
    }
}

/// Sends what waits, a batch at a time. A batch that is not taken after the exporter's own tries is dropped, and counted.
async fn send(exporter: SpanExporter, mut waiting: mpsc::Receiver<SpanData>, metrics: Metrics) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let more = async { while batch.len() < BATCH && waiting.recv_many(&mut batch, BATCH).await > 0 {} };
        // Either way there is something to send.
        let _ = tokio::time::timeout(GATHER, more).await;
        let count = batch.len();
        if let Err(error) = exporter.export(std::mem::take(&mut batch)).await {
            metrics.spans_dropped(count as u64);
            tracing::warn!(%error, count, "spans could not be sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(installation: u8) -> (Traces, mpsc::Receiver<SpanData>) {
        let (spans, waiting) = mpsc::channel(8);
        let scope = InstrumentationScope::builder("airlock").build();
        let installation = [installation; 16];
        let sending = Sending { installation, scope, spans, metrics: Metrics::default() };
        (Traces { sending: Some(Arc::new(sending)) }, waiting)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_try_is_a_span_of_its_run_and_knows_its_name_before_it_ends() {
        let (traces, mut waiting) = sending(1);
        let (dag_id, run_id, task_id) = ("d".parse().unwrap(), "r".parse().unwrap(), "t".parse().unwrap());
        let id = |try_number| TryId { dag_run: 7, task_id: &task_id, map_index: -1, try_number, restart: 0 };
        let (dag_id, run_id, queued_at) = (&dag_id, &run_id, at(1));
        traces.try_ended(&TrySpan {
            id: id(1),
            dag_id,
            run_id,
            queued_at,
            state: TaskState::UpForRetry,
            started: at(2),
            ended: at(3),
            message: Some("no"),
        });
        let (run_type, state) = (RunType::Manual, RunState::Success);
        let (started, ended) = (at(2), at(4));
        traces.run_ended(&RunSpan { dag_run: 7, dag_id, run_id, run_type, state, queued_at, started, ended });
        let (attempt, run) = (waiting.try_recv().unwrap(), waiting.try_recv().unwrap());
        assert_eq!(attempt.parent_span_id, run.span_context.span_id());
        assert_eq!(attempt.span_context.trace_id(), run.span_context.trace_id());
        assert_eq!(attempt.status, Status::error("no"));
        assert_eq!(run.name, "dag_run d");
        let (trace, span) = (run.span_context.trace_id(), attempt.span_context.span_id());
        assert_eq!(traces.traceparent(&id(1)).unwrap(), format!("00-{trace}-{span}-01"));
        assert_ne!(traces.traceparent(&id(2)), traces.traceparent(&id(1)));
        assert_ne!(sending(2).0.traceparent(&id(1)), traces.traceparent(&id(1)));
        assert_eq!(Traces::default().traceparent(&id(1)), None);
    }
}
