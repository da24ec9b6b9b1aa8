//! The `log` and `tracing` facades, which both end in the task's log.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::{self, Write},
    sync::Once,
};

use log::kv::{Key, Value, VisitSource};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_core::span::Current;

use crate::host;

/// How much a log line matters, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For following the code.
    Trace,
    /// For finding a fault.
    Debug,
    /// What is worth knowing.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

/// Makes the facades end in the task's log. An attempt that logs nothing pays for two pointers.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Who set another logger before, in a test, keeps it.
        if log::set_logger(&Facade).is_ok() {
            log::set_max_level(log::LevelFilter::Trace);
        }
        let _kept = tracing::subscriber::set_global_default(Facade);
    });
}

struct Facade;

impl log::Log for Facade {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        Level::from(metadata.level()) >= host::log_enabled()
    }

    fn log(&self, record: &log::Record<'_>) {
        if Level::from(record.level()) >= host::log_enabled() {
            let mut fields = Fields::default();
            // It takes all that there are.
            let _visited = record.key_values().visit(&mut fields);
            host::log_emit(record.level().into(), record.target(), &record.args().to_string(), &fields.named);
        }
    }

    fn flush(&self) {}
}

impl From<log::Level> for Level {
    fn from(level: log::Level) -> Self {
        match level {
            log::Level::Error => Self::Error,
            log::Level::Warn => Self::Warn,
            log::Level::Info => Self::Info,
            log::Level::Debug => Self::Debug,
            log::Level::Trace => Self::Trace,
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

struct Span {
    metadata: &'static Metadata<'static>,
    fields: Vec<(String, String)>,
    handles: usize,
}

#[derive(Default)]
struct Spans {
    /// By id: those that are not closed.
    open: BTreeMap<u64, Span>,
    last_id: u64,
    /// The ids of the entered ones, outermost first.
    entered: Vec<u64>,
}

thread_local! {
    static SPANS: RefCell<Spans> = RefCell::default();
}

impl Subscriber for Facade {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Level::from(*metadata.level()) >= host::log_enabled()
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        // The level belongs to a host, and tests have many; `enabled` is asked each time.
        tracing::subscriber::Interest::sometimes()
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        SPANS.with_borrow_mut(|spans| {
            spans.last_id += 1;
            let span = Span { metadata: attributes.metadata(), fields: fields.named, handles: 1 };
            spans.open.insert(spans.last_id, span);
            span::Id::from_u64(spans.last_id)
        })
    }

    fn record(&self, id: &span::Id, values: &span::Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        SPANS.with_borrow_mut(|spans| {
            if let Some(span) = spans.open.get_mut(&id.into_u64()) {
                span.fields.append(&mut fields.named);
            }
        });
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut named = fields.named;
        SPANS.with_borrow_mut(|spans| {
            let mut path = String::new();
            for span in spans.entered.iter().filter_map(|id| spans.open.get(id)) {
                path.push_str(if path.is_empty() { "" } else { ":" });
                path.push_str(span.metadata.name());
                named.extend_from_slice(&span.fields);
            }
            if !path.is_empty() {
                named.push(("span".to_owned(), path));
            }
        });
        let metadata = event.metadata();
        host::log_emit((*metadata.level()).into(), metadata.target(), &fields.message, &named);
    }

    fn enter(&self, id: &span::Id) {
        SPANS.with_borrow_mut(|spans| spans.entered.push(id.into_u64()));
    }

    fn exit(&self, id: &span::Id) {
        SPANS.with_borrow_mut(|spans| {
            if let Some(at) = spans.entered.iter().rposition(|entered| *entered == id.into_u64()) {
                spans.entered.remove(at);
            }
        });
    }

    /// `Span::current()` in a function that `#[instrument]` marks, to record what it found.
    fn current_span(&self) -> Current {
        SPANS.with_borrow(|spans| match spans.entered.last().and_then(|id| Some((id, spans.open.get(id)?))) {
            Some((id, span)) => Current::new(span::Id::from_u64(*id), span.metadata),
            None => Current::none(),
        })
    }

    fn clone_span(&self, id: &span::Id) -> span::Id {
        SPANS.with_borrow_mut(|spans| {
            if let Some(span) = spans.open.get_mut(&id.into_u64()) {
                span.handles += 1;
            }
        });
        id.clone()
    }

    fn try_close(&self, id: span::Id) -> bool {
        SPANS.with_borrow_mut(|spans| {
            let Some(span) = spans.open.get_mut(&id.into_u64()) else { return false };
            span.handles -= 1;
            let closed = span.handles == 0;
            if closed {
                spans.open.remove(&id.into_u64());
            }
            closed
        })
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    named: Vec<(String, String)>,
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        self.named.push((key.as_str().to_owned(), value.to_string()));
        Ok(())
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.named.push((field.name().to_owned(), value.to_owned()));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // A String takes all that is written to it.
        let _written = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    #[test]
    fn a_span_that_is_closed_takes_no_place() {
        Host::new().run(|_| {
            for row in 0..10 {
                let span = tracing::info_span!("row", row);
                let _entered = span.clone().entered();
                tracing::Span::current().record("row", row + 1);
            }
        });
        assert_eq!(SPANS.with_borrow(|spans| (spans.open.len(), spans.entered.len(), spans.last_id)), (0, 0, 10));
    }
}
