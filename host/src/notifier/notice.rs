//! What is told.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    model::{callback::CallbackEvent, ids::TaskId, time::Timestamp},
    store::{CallbackNew, DagRunRow},
};

/// What is told, as it is posted. `text` says it in a line: chats show that field.
#[derive(Debug, Clone, Serialize)]
pub struct Notice {
    pub text: String,
    pub event: CallbackEvent,
    pub dag_id: String,
    pub dag_run_id: String,
    pub run_type: String,
    pub logical_date: Option<Timestamp>,
    /// None: it is about the run.
    pub task_id: Option<String>,
    pub map_index: Option<i32>,
    pub try_number: Option<i64>,
    /// Why, if that is known.
    pub message: Option<String>,
    /// The same whenever this is delivered again.
    #[serde(skip)]
    pub id: String,
}

impl Notice {
    pub fn new(callback: &CallbackNew, run: &DagRunRow) -> Self {
        let (dag_id, run_id) = (&run.dag_id, &run.run_id);
        let subject = match &callback.task_id {
            None => format!("run {run_id} of dag {dag_id}"),
            Some(task_id) => format!("task {}, run {run_id} of dag {dag_id}", instance(task_id, callback.map_index)),
        };
        let what = match (callback.event, &callback.task_id) {
            (CallbackEvent::Success, _) => "succeeded".to_owned(),
            (CallbackEvent::Failure, _) => "failed".to_owned(),
            (CallbackEvent::Retry, _) => format!("failed in try {}, and is tried again", callback.number),
            (CallbackEvent::Skipped, _) => "was skipped".to_owned(),
            (CallbackEvent::Deadline, _) => "is not finished by its deadline".to_owned(),
            (CallbackEvent::Question, _) => "waits for an answer".to_owned(),
        };
        let why = callback.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        let of_task = callback.task_id.is_some();
        let task = callback.task_id.as_ref().map_or("", TaskId::as_str);
        Self {
            text: format!("{subject} {what}{why}"),
            event: callback.event,
            dag_id: dag_id.to_string(),
            dag_run_id: run_id.to_string(),
            run_type: run.run_type.as_str().to_owned(),
            logical_date: run.logical_date,
            task_id: callback.task_id.as_ref().map(ToString::to_string),
            map_index: of_task.then_some(callback.map_index),
            try_number: of_task.then_some(callback.number),
            message: callback.message.clone(),
            id: format!("{}/{task}/{}/{}/{}", run.key.0, callback.map_index, callback.number, callback.told()),
        }
    }

    /// As the conf of a run that it starts: what there is nothing of is left to the defaults of its params.
    pub fn as_object(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            _ => Map::new(),
        }
    }
}

fn instance(task_id: &TaskId, map_index: i32) -> String {
    if map_index < 0 { task_id.to_string() } else { format!("{task_id}[{map_index}]") }
}
