//! What the server tells of itself to those who watch it: figures for Prometheus, traces, and that one of its long-lived
//! tasks ended.
//!
//! It promises that telling never holds up what is told of, and needs no more memory than there are kinds of figures and dags. It
//! decides nothing and reads nothing: whoever does something calls it when it is done, durably where it is a state.
//! `docs/monitoring.md` says what each figure means.

mod duties;
mod metrics;
mod traces;

pub use duties::{Duties, DutyError};
pub use metrics::{FleetPods, Gauges, HttpRequest, Metrics, PoolSlots};
pub use traces::{RunSpan, Traces, TracesConfig, TracesError, TryId, TrySpan};

/// Where rooms tell what they do. Clones share it; the default counts, and sends no traces.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    pub metrics: Metrics,
    pub traces: Traces,
    pub duties: Duties,
}
