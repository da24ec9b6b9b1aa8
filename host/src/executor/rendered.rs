//! Renders the templates of an attempt: reads what they need, and says what they became.

use serde_json::{Map, Value as Json};

use super::{
    Shared,
    attempt::{AttemptId, ExecutorEvent, Rendered},
    books::Attempt,
    calls, denials,
    inputs::{self, InputError, Inputs},
    values,
};
use crate::{
    model::{
        dag::Source,
        template::{Halt, Known, Need, RunScope, Scope, TaskScope, cut_label},
    },
    secrets::Masker,
    wire::{CallError, Input, Level, Value},
};

/// What the templates of an attempt may read: variables, connections, XComs and such.
const MAX_NEEDS: usize = 100;
/// What is kept of a rendered input to be shown, in bytes. Airflow: `[core] max_templated_field_length`.
const MAX_SHOWN_BYTES: usize = 4_096;
/// What is kept of all of them.
const MAX_ALL_SHOWN_BYTES: usize = 64 << 10;
/// Larger inputs are not looked into for labels and keys.
const MAX_INPUT_BYTES: usize = 256 << 10;

/// Renders what is to be rendered before the attempt starts, and tells the scheduler what it became.
///
/// # Errors
/// What is wrong with a template: with its dag, task, input, line and column. Another try does not mend it.
pub(super) async fn fill(shared: &Shared, attempt: &Attempt, mut inputs: Inputs) -> Result<Inputs, InputError> {
    let node = attempt.node();
    let mut rendering = Rendering::new(shared, attempt)?;
    let mut shown = Map::new();
    for binding in &node.inputs {
        let Source::Template(written) = &binding.source else { continue };
        let value = rendering.render(None, |scope| written.template.render(scope)).await.map_err(|(at, problem)| {
            let place = if at.is_empty() { String::new() } else { format!(" at `{at}`") };
            problem.of(attempt, &format!("the template of input `{}`{place}", binding.name))
        })?;
        let bytes = value.to_string().into_bytes();
        shown.insert(binding.name.clone(), value);
        if let Some(input) = inputs.inputs.iter_mut().find(|input| input.name == binding.name) {
            input.value = Some(Value { media_type: values::JSON.into(), bytes });
        }
    }
    let label = rendering.label(&inputs.inputs).await;
    tell(shared, attempt, shown, label);
    Ok(inputs)
}

/// The templates of one attempt, and what they asked for so far.
struct Rendering<'a> {
    shared: &'a Shared,
    attempt: &'a Attempt,
    params: Json,
    known: Known,
}

/// Why something is not rendered.
enum Problem {
    Wrong(String),
    /// Another try may do better.
    Unavailable(String),
}

impl Problem {
    fn of(self, attempt: &Attempt, what: &str) -> InputError {
        let (why, retry) = match self {
            Self::Wrong(why) => (why, false),
            Self::Unavailable(why) => (why, true),
        };
        let AttemptId { instance, .. } = attempt.id();
        let dag_id = &attempt.assignment.run.dag_id;
        InputError { message: format!("dag `{dag_id}`, task `{}`: {what}: {why}", instance.task_id), retry }
    }
}

impl<'a> Rendering<'a> {
    fn new(shared: &'a Shared, attempt: &'a Attempt) -> Result<Self, InputError> {
        let params = serde_json::from_str(&attempt.assignment.run.params).map_err(|error| {
            Problem::Wrong(format!("the run's params are not a JSON object: {error}")).of(attempt, "its templates")
        })?;
        Ok(Self { shared, attempt, params, known: Known::default() })
    }

    /// Renders with `render` until it has all that it needs.
    async fn render<T>(
        &mut self,
        inputs: Option<&Json>,
        render: impl Fn(&Scope<'_>) -> Result<T, (String, Halt)>,
    ) -> Result<T, (String, Problem)> {
        loop {
            let (at, need) = match render(&self.scope(inputs)) {
                Ok(rendered) => return Ok(rendered),
                Err((at, Halt::Wrong(error))) => return Err((at, Problem::Wrong(error.to_string()))),
                Err((at, Halt::Needs(need))) => (at, need),
            };
            if self.known.count() >= MAX_NEEDS {
                let why = format!("it reads more than {MAX_NEEDS} variables, connections and xcoms");
                return Err((at, Problem::Wrong(why)));
            }
            self.read(need).await.map_err(|problem| (at, problem))?;
        }
    }

    fn scope<'s>(&'s self, inputs: Option<&'s Json>) -> Scope<'s> {
        let assignment = &self.attempt.assignment;
        let run = &assignment.run;
        Scope {
            run: RunScope {
                dag_id: run.dag_id.as_str(),
                run_id: run.run_id.as_str(),
                run_type: run.run_type,
                timezone: assignment.dag.timetable.timezone,
                logical_date: run.logical_date,
                data_interval: run.data_interval,
                run_after: run.run_after,
                params: &self.params,
            },
            task: Some(TaskScope {
                task_id: assignment.id.instance.task_id.as_str(),
                map_index: assignment.id.instance.map_index,
                try_number: assignment.id.try_number,
                max_tries: assignment.max_tries,
                inputs,
            }),
            known: &self.known,
        }
    }

    /// Reads within the grants of the attempt. What is not there is known not to be.
    async fn read(&mut self, need: Need) -> Result<(), Problem> {
        let found = match &need {
            Need::Variable(key) => calls::variable_text(self.shared, self.attempt, key).await.map(|text| {
                self.known.variables.insert(key.clone(), Some(text));
            }),
            Need::Connection(id) => calls::connection_facts(self.shared, self.attempt, id).await.map(|facts| {
                self.known.connections.insert(id.clone(), Some(facts));
            }),
            Need::XCom(pull) => {
                let value = inputs::pull(self.shared, &self.attempt.assignment, pull).await;
                let value = value.map_err(|error| match error {
                    InputError { message, retry: true } => Problem::Unavailable(message),
                    InputError { message, retry: false } => Problem::Wrong(message),
                })?;
                self.known.xcoms.insert(pull.clone(), value);
                Ok(())
            }
            Need::PreviousSuccess => calls::previous_success(self.shared, self.attempt).await.map(|run| {
                self.known.previous_success = Some(run);
            }),
            Need::AssetEvents => calls::triggering_events(self.shared, self.attempt).await.map(|events| {
                self.known.asset_events = Some(events);
            }),
        };
        match (found, need) {
            (Ok(()), _) => Ok(()),
            (Err(CallError::NotFound(_)), Need::Variable(key)) => {
                self.known.variables.insert(key, None);
                Ok(())
            }
            (Err(CallError::NotFound(_)), Need::Connection(id)) => {
                self.known.connections.insert(id, None);
                Ok(())
            }
            (Err(CallError::Unavailable(why)), _) => Err(Problem::Unavailable(why)),
            (Err(error), _) => {
                if let CallError::Denied(why) = &error {
                    denials::write(self.shared, self.attempt, why);
                }
                Err(Problem::Wrong(calls::text(&error).to_owned()))
            }
        }
    }

    /// What the instance is called. One that can't be rendered is no reason not to run: the log says why.
    async fn label(&mut self, inputs: &[Input]) -> Option<String> {
        let template = self.attempt.node().map_index_template.as_ref()?;
        let inputs = looked_into(inputs);
        match self.render(Some(&inputs), |scope| template.render(scope).map_err(|halt| (String::new(), halt))).await {
            Ok(text) => Some(text).filter(|text| !text.trim().is_empty()),
            Err((_, Problem::Wrong(why) | Problem::Unavailable(why))) => {
                let text = format!("its map_index_template can't be rendered: {why}");
                self.shared.logs.tell(self.attempt, Level::Warn, &text);
                None
            }
        }
    }
}

/// The inputs that are JSON and not large, by name.
fn looked_into(inputs: &[Input]) -> Json {
    let value = |input: &Input| match &input.value {
        None => Some(Json::Null),
        Some(value) if values::is_json(&value.media_type) && value.bytes.len() <= MAX_INPUT_BYTES => {
            serde_json::from_slice(&value.bytes).ok()
        }
        Some(_) => None,
    };
    Json::Object(inputs.iter().filter_map(|input| Some((input.name.clone(), value(input)?))).collect())
}

/// Tells the scheduler, which keeps it to be shown. Secrets are hidden first, before anything is cut.
fn tell(shared: &Shared, attempt: &Attempt, fields: Map<String, Json>, label: Option<String>) {
    if fields.is_empty() && label.is_none() {
        return;
    }
    let rendered = attempt.effects(|effects| {
        let mut left = MAX_ALL_SHOWN_BYTES;
        let mut keep = |(name, value): (String, Json)| {
            let value = shorten(masked(effects.masker(), value), MAX_SHOWN_BYTES.min(left));
            left = left.saturating_sub(value.to_string().len() + name.len());
            (name, value)
        };
        let fields: Map<_, _> = fields.into_iter().map(&mut keep).collect();
        let label = label.and_then(|label| cut_label(&effects.masker().mask(&label)));
        let fields = (!fields.is_empty()).then(|| Json::Object(fields).to_string());
        Rendered { id: attempt.id().clone(), fields, label }
    });
    let Some(rendered) = rendered else { return };
    shared.tell(ExecutorEvent::Rendered(Box::new(rendered)));
}

fn masked(masker: &Masker, value: Json) -> Json {
    match value {
        Json::String(text) => Json::String(masker.mask(&text).into_owned()),
        Json::Array(items) => Json::Array(items.into_iter().map(|item| masked(masker, item)).collect()),
        Json::Object(fields) => Json::Object(
            fields.into_iter().map(|(key, field)| (masker.mask(&key).into_owned(), masked(masker, field))).collect(),
        ),
        other => {
            let text = other.to_string();
            let hidden = masker.mask(&text);
            if *hidden == *text { other } else { Json::String(hidden.into_owned()) }
        }
    }
}

/// The value, or the beginning of it as text, with a mark that says so.
fn shorten(value: Json, most: usize) -> Json {
    let text = match &value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() <= most {
        return value;
    }
    Json::String(format!("{}... (cut: it has {} bytes)", &text[..text.floor_char_boundary(most)], text.len()))
}
