//! The host's imports, in the words of this crate.

use std::{ops::Range, sync::OnceLock, time::Duration};

use chrono::{DateTime, Utc};

use super::{Value, imports, instant};
pub use super::{
    http::{Incoming, http_send},
    objects::{Download, Upload, object_delete, object_get, object_head, object_list, object_put},
    sql::{Rows, Session, sql_open},
};
use crate::{
    approval::{Question, RawAnswer},
    assets::{EventSource, NamedAsset, RawEvent},
    connections::Connection,
    dags::{Condition, DagRun, EndState, Progress, RunState, Trigger, WhichRun},
    error::HostError,
    logging::Level,
    xcom::RunValue,
};

type Result<T> = std::result::Result<T, HostError>;

impl From<imports::types::Error> for HostError {
    fn from(error: imports::types::Error) -> Self {
        use imports::types::Error;
        match error {
            Error::Denied(text) => Self::Denied(text),
            Error::NotFound(text) => Self::NotFound(text),
            Error::TooLarge(text) => Self::TooLarge(text),
            Error::Unavailable(text) => Self::Unavailable(text),
            Error::Invalid(text) => Self::Invalid(text),
        }
    }
}

fn signed(map_index: Option<u32>) -> Option<i32> {
    map_index.map(|index| i32::try_from(index).unwrap_or(i32::MAX))
}

pub fn xcom_push(key: &str, value: Value) -> Result<()> {
    Ok(imports::xcom::push(key, &value.into())?)
}

pub fn xcom_pull(task_id: &str, map_index: Option<u32>, key: &str) -> Result<Value> {
    let source =
        imports::xcom::Source { task_id: task_id.to_owned(), map_index: signed(map_index), key: key.to_owned() };
    Ok(imports::xcom::pull(&source)?.into())
}

pub fn xcom_pull_runs(task_id: &str, key: &str, dates: Range<DateTime<Utc>>) -> Result<Vec<RunValue<Value>>> {
    let (since, until) = (dates.start.timestamp_micros(), dates.end.timestamp_micros());
    let found = imports::xcom::pull_runs(task_id, key, since, until)?;
    let run_value = |run: imports::xcom::RunValue| RunValue {
        run_id: run.run_id,
        logical_date: instant(run.logical_date),
        map_index: u32::try_from(run.map_index).ok(),
        value: run.value.into(),
    };
    Ok(found.into_iter().map(run_value).collect())
}

pub fn variable_get(key: &str) -> Result<String> {
    Ok(imports::variables::get(key)?)
}

pub fn connection_get(id: &str) -> Result<Connection> {
    let found = imports::connections::get(id)?;
    Ok(Connection {
        id: found.id,
        conn_type: found.conn_type,
        host: found.host,
        schema: found.schema,
        login: found.login,
        password: found.password,
        port: found.port,
        extra: found.extra,
    })
}

pub struct Writer(imports::artifacts::Writer);

pub fn artifact_create(name: &str, media_type: &str) -> Result<Writer> {
    Ok(Writer(imports::artifacts::create(name, media_type)?))
}

impl Writer {
    pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
        Ok(self.0.write(chunk)?)
    }

    pub fn finish(self) -> Result<u64> {
        Ok(self.0.finish()?)
    }
}

pub struct Reader(imports::artifacts::Reader);

pub fn artifact_open(task_id: &str, map_index: Option<u32>, name: &str) -> Result<Reader> {
    Ok(Reader(imports::artifacts::open(task_id, signed(map_index), name)?))
}

impl Reader {
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    pub fn read(&mut self, most: usize) -> Result<Vec<u8>> {
        Ok(self.0.read(u32::try_from(most).unwrap_or(u32::MAX))?)
    }
}

fn raw(event: imports::assets::AssetEvent) -> RawEvent {
    RawEvent {
        asset: event.asset,
        uri: event.uri,
        timestamp: instant(event.timestamp),
        extra: event.extra,
        source: event.source.map(|source| EventSource {
            dag_id: source.dag_id,
            run_id: source.run_id,
            task_id: source.task_id,
            map_index: u32::try_from(source.map_index).ok(),
        }),
    }
}

pub fn label_set(label: &str) -> Result<()> {
    Ok(imports::labels::set(label)?)
}

pub fn retry_delay_set(delay: Duration) -> Result<()> {
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    Ok(imports::retries::set_delay(delay_ms)?)
}

pub fn asset_set_extra(asset: &str, extra: &str) -> Result<()> {
    Ok(imports::assets::set_extra(asset, extra)?)
}

pub fn asset_add(alias: &str, asset: NamedAsset, extra: &str) -> Result<()> {
    let NamedAsset { name, uri, group } = asset;
    Ok(imports::assets::add(alias, &imports::assets::NamedAsset { name, uri, group }, extra)?)
}

pub fn asset_triggering() -> Result<Vec<RawEvent>> {
    Ok(imports::assets::triggering()?.into_iter().map(raw).collect())
}

pub fn asset_events(asset: &str, limit: u32) -> Result<Vec<RawEvent>> {
    Ok(imports::assets::events(asset, limit)?.into_iter().map(raw).collect())
}

impl From<Question> for imports::approvals::Question {
    fn from(question: Question) -> Self {
        let field = |field: crate::approval::Field| imports::approvals::Field {
            name: field.name,
            schema: field.schema,
            default: field.default,
        };
        Self {
            subject: question.subject,
            body: question.body,
            options: question.options,
            multiple: question.multiple,
            defaults: question.defaults,
            fields: question.fields.into_iter().map(field).collect(),
            assignees: question.assignees,
        }
    }
}

pub fn approval_find(subject: &str) -> Result<Option<RawAnswer>> {
    let answer = |answer: imports::approvals::Answer| RawAnswer {
        chosen: answer.chosen,
        values: answer.values,
        username: answer.username,
        timestamp: instant(answer.timestamp),
    };
    Ok(imports::approvals::find(subject)?.map(answer))
}

impl From<Condition> for imports::dags::Condition {
    fn from(condition: Condition) -> Self {
        use imports::dags::WhichRun as Wit;
        let states = |states: Vec<EndState>| states.into_iter().map(Into::into).collect();
        Self {
            dag_id: condition.dag_id,
            run: match condition.run {
                WhichRun::Newest => Wit::Newest,
                WhichRun::LogicalDate(date) => Wit::LogicalDate(date.timestamp_micros()),
                WhichRun::RunId(run_id) => Wit::RunId(run_id),
            },
            tasks: condition.tasks,
            all: states(condition.all),
            any: states(condition.any),
        }
    }
}

impl From<EndState> for imports::dags::EndState {
    fn from(state: EndState) -> Self {
        match state {
            EndState::Success => Self::Success,
            EndState::Failed => Self::Failed,
            EndState::Skipped => Self::Skipped,
            EndState::UpstreamFailed => Self::UpstreamFailed,
            EndState::Removed => Self::Removed,
        }
    }
}

impl From<imports::dags::EndState> for EndState {
    fn from(state: imports::dags::EndState) -> Self {
        use imports::dags::EndState as Wit;
        match state {
            Wit::Success => Self::Success,
            Wit::Failed => Self::Failed,
            Wit::Skipped => Self::Skipped,
            Wit::UpstreamFailed => Self::UpstreamFailed,
            Wit::Removed => Self::Removed,
        }
    }
}

impl From<imports::dags::DagRun> for DagRun {
    fn from(run: imports::dags::DagRun) -> Self {
        use imports::dags::RunState as Wit;
        Self {
            dag_id: run.dag_id,
            run_id: run.run_id,
            state: match run.state {
                Wit::Queued => RunState::Queued,
                Wit::Running => RunState::Running,
                Wit::Success => RunState::Success,
                Wit::Failed => RunState::Failed,
            },
            logical_date: run.logical_date.map(instant),
            run_after: instant(run.run_after),
        }
    }
}

pub fn dag_look(condition: &Condition) -> Result<Progress> {
    use imports::dags::Progress as Wit;
    Ok(match imports::dags::look(&condition.clone().into())? {
        Wit::NotYet => Progress::NotYet,
        Wit::All(run) => Progress::All(run.into()),
        Wit::Any((run, state)) => Progress::Any(run.into(), state.into()),
    })
}

pub fn dag_trigger(trigger: &Trigger) -> Result<DagRun> {
    let request = imports::dags::RunRequest {
        dag_id: trigger.dag_id.clone(),
        conf: serde_json::Value::Object(trigger.conf.clone()).to_string(),
        logical_date: trigger.logical_date.map(|date| date.timestamp_micros()),
        run_id: trigger.run_id.clone(),
        reset: trigger.reset,
        note: trigger.note.clone(),
    };
    Ok(imports::dags::trigger(&request)?.into())
}

pub fn log_emit(level: Level, target: &str, message: &str, fields: &[(String, String)]) {
    use imports::log::Level as Wit;
    let level = match level {
        Level::Trace => Wit::Trace,
        Level::Debug => Wit::Debug,
        Level::Info => Wit::Info,
        Level::Warn => Wit::Warn,
        Level::Error => Wit::Error,
    };
    imports::log::emit(level, target, message, fields);
}

/// The host is asked at the first line that is logged.
pub fn log_enabled() -> Level {
    use imports::log::Level as Wit;
    static ENABLED: OnceLock<Level> = OnceLock::new();
    *ENABLED.get_or_init(|| match imports::log::enabled() {
        Wit::Trace => Level::Trace,
        Wit::Debug => Level::Debug,
        Wit::Info => Level::Info,
        Wit::Warn => Level::Warn,
        Wit::Error => Level::Error,
    })
}
