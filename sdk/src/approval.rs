//! Questions to people. Airflow: human in the loop (`HITLOperator`, `ApprovalOperator`, `HITLEntryOperator`).
//!
//! ```
//! use airlock_sdk::prelude::*;
//! use std::time::Duration;
//!
//! #[task]
//! fn ship(ctx: &Context) -> Result<String> {
//!     let answer = approval::ask("Ship it?")
//!         .body("All green since yesterday.")
//!         .options(["Ship", "Wait"])
//!         .field("note", serde_json::json!({"type": "string"}), "")
//!         .assignees(["ann", "bob"])
//!         .timeout(Duration::from_hours(24))
//!         .default("Wait")
//!         .wait(ctx)?;
//!     Ok(answer.chosen.join(", "))
//! }
//!
//! #[dag]
//! fn release(dag: &Dag) {
//!     ship(dag);
//! }
//! # use airlock_sdk::{serde_json, testing::{Host, TaskState}};
//! # assert_eq!(Host::new().run_dag::<release>().unwrap().state("ship"), TaskState::UpForReschedule);
//! # let run = Host::new().answer("Ship it?", ["Ship"], serde_json::json!({})).run_dag::<release>().unwrap();
//! # assert_eq!(run.result::<String>("ship").unwrap(), "Ship");
//! ```
//!
//! The task holds nothing while it waits, and is started again from its beginning when somebody answered, on the page, by the API
//! or by `airlock approvals answer`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::DeserializeOwned;

use crate::{
    context::Context,
    error::{Awaited, Fatal, HostError, Later, Result, Skip},
    host,
    value::from_json,
};

/// As long as sensors wait.
const TIMEOUT: Duration = Duration::from_hours(7 * 24);
/// The first option of [`Ask::approve`]. Airflow: `ApprovalOperator.APPROVE`.
pub const APPROVE: &str = "Approve";
/// The second option of [`Ask::approve`]. Airflow: `ApprovalOperator.REJECT`.
pub const REJECT: &str = "Reject";

/// What is asked, as the host is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub subject: String,
    pub body: Option<String>,
    pub options: Vec<String>,
    pub multiple: bool,
    pub defaults: Vec<String>,
    pub fields: Vec<Field>,
    pub assignees: Vec<String>,
}

/// A value that the form asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: String,
    pub schema: String,
    pub default: Option<String>,
}

/// An answer as the host tells it.
#[derive(Debug, Clone)]
pub(crate) struct RawAnswer {
    pub chosen: Vec<String>,
    pub values: String,
    pub username: String,
    pub timestamp: DateTime<Utc>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The options that were chosen: one, or any number if several may be.
    pub chosen: Vec<String>,
    /// What the fields were filled in with.
    pub values: serde_json::Map<String, serde_json::Value>,
    /// Who answered; none: nobody did in time, and these are the defaults.
    pub username: Option<String>,
    /// When.
    pub timestamp: DateTime<Utc>,
}

impl Answer {
    /// Whether this option was chosen.
    pub fn is(&self, option: &str) -> bool {
        self.chosen.iter().any(|chosen| chosen == option)
    }

    /// What a field was filled in with.
    ///
    /// # Errors
    /// If there is no such field, or its value is not a `T`.
    pub fn value<T: DeserializeOwned>(&self, field: &str) -> Result<T> {
        let value = self.values.get(field).cloned().unwrap_or_default();
        Ok(serde_json::from_value(value)
            .map_err(|error| HostError::Invalid(format!("field `{field}` of the answer: {error}")))?)
    }
}

/// A question to be asked.
#[derive(Debug, Clone)]
#[must_use = "nobody is asked before `wait`"]
pub struct Ask {
    question: Question,
    timeout: Duration,
}

/// Asks people. `subject` names the question within a try, so that a task may ask several, one after the other.
///
/// Without [`options`](Ask::options) there is one: `OK`.
pub fn ask(subject: impl Into<String>) -> Ask {
    let question = Question {
        subject: subject.into(),
        body: None,
        options: vec!["OK".to_owned()],
        multiple: false,
        defaults: Vec::new(),
        fields: Vec::new(),
        assignees: Vec::new(),
    };
    Ask { question, timeout: TIMEOUT }
}

fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Vec<String> {
    texts.into_iter().map(Into::into).collect()
}

impl Ask {
    fn with(mut self, change: impl FnOnce(&mut Question)) -> Self {
        change(&mut self.question);
        self
    }

    /// What those who are asked read: Markdown, at most 64 KiB.
    pub fn body(self, markdown: impl Into<String>) -> Self {
        self.with(|question| question.body = Some(markdown.into()))
    }

    /// What can be chosen: 1 to 100 texts of 1 to 250 bytes.
    pub fn options<T: Into<String>>(self, options: impl IntoIterator<Item = T>) -> Self {
        self.with(|question| question.options = texts(options))
    }

    /// Lets any number of options be chosen, even none; otherwise exactly one is.
    pub fn multiple(self) -> Self {
        self.with(|question| question.multiple = true)
    }

    /// An option that is chosen in the form already, and for good when nobody answers in time. Several by several calls.
    ///
    /// The fields then have the defaults that they have.
    pub fn default(self, option: impl Into<String>) -> Self {
        self.with(|question| question.defaults.push(option.into()))
    }

    /// A value that the form asks for, with a JSON Schema and what stands in the form already.
    pub fn field(
        self,
        name: impl Into<String>,
        schema: impl Into<serde_json::Value>,
        default: impl Into<serde_json::Value>,
    ) -> Self {
        let default: serde_json::Value = default.into();
        self.add(name.into(), &schema.into(), Some(default.to_string()))
    }

    /// A value that the form asks for and that must be given.
    pub fn required_field(self, name: impl Into<String>, schema: impl Into<serde_json::Value>) -> Self {
        self.add(name.into(), &schema.into(), None)
    }

    fn add(self, name: String, schema: &serde_json::Value, default: Option<String>) -> Self {
        let schema = schema.to_string();
        self.with(|question| question.fields.push(Field { name, schema, default }))
    }

    /// The users who may answer, at most 100; without it everybody may.
    pub fn assignees<T: Into<String>>(self, usernames: impl IntoIterator<Item = T>) -> Self {
        self.with(|question| question.assignees = texts(usernames))
    }

    /// How long to wait in all, from the try's first start; 7 days, if nothing is said. Airflow: `response_timeout`.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The answer: until there is one the task waits, and is started again when it comes.
    ///
    /// # Errors
    /// [`Later`] if there is none yet, to be handed on with `?`; [`Fatal`] after the timeout if there is no
    /// [`default`](Self::default), or if the question can't be asked.
    pub fn wait(self, ctx: &Context) -> Result<Answer> {
        #[expect(clippy::disallowed_methods, reason = "tasks have no clock but WASI's")]
        self.wait_at(ctx, Utc::now())
    }

    /// Waits for somebody to approve: skips the task if it is rejected, and what is downstream goes by its trigger rule. (Airflow's
    /// `ApprovalOperator` skips that whatever its rule: ask in a `#[task(short_circuit)]` for it.)
    ///
    /// # Errors
    /// [`Skip`] if it is rejected; as [`wait`](Self::wait).
    pub fn approve(self, ctx: &Context) -> Result<Answer> {
        let subject = self.question.subject.clone();
        let answer = self.options([APPROVE, REJECT]).wait(ctx)?;
        if answer.is(APPROVE) {
            return Ok(answer);
        }
        let by =
            answer.username.as_deref().map_or_else(|| "as nobody answered".to_owned(), |name| format!("by {name}"));
        Err(Skip::because(format!("`{subject}` was rejected {by}")).into())
    }

    fn wait_at(self, ctx: &Context, now: DateTime<Utc>) -> Result<Answer> {
        let Self { question, timeout } = self;
        let subject = &question.subject;
        if let Some(raw) = host::approval_find(subject)? {
            let values = from_json(&raw.values, || format!("the answer to `{subject}`"))?;
            return Ok(Answer { chosen: raw.chosen, values, username: Some(raw.username), timestamp: raw.timestamp });
        }
        let until = ctx.started_at().checked_add_signed(TimeDelta::from_std(timeout).unwrap_or(TimeDelta::MAX));
        let until = until.unwrap_or(DateTime::<Utc>::MAX_UTC);
        if now < until {
            return Err(Later::on(Awaited::Approval(question), until).into());
        }
        if question.defaults.is_empty() {
            let waited = timeout.as_secs_f64();
            return Err(Fatal::new(format!("nobody answered `{subject}` within {waited} s")).into());
        }
        let mut values = serde_json::Map::new();
        for field in question.fields {
            let Some(default) = field.default else { continue };
            let value = from_json(&default, || format!("the default of field `{}`", field.name))?;
            values.insert(field.name, value);
        }
        Ok(Answer { chosen: question.defaults, values, username: None, timestamp: until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_asked_until_it_is_answered_or_its_time_is_over() {
        let start = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let after = |seconds| start + TimeDelta::seconds(seconds);
        let asked = || {
            let schema = serde_json::json!({"type": "integer"});
            ask("How many?").options(["Some", "None"]).field("count", schema, 3).timeout(Duration::from_mins(1))
        };
        let host = crate::testing::Host::new().started_at(start);
        host.run(|ctx| {
            let error = asked().wait_at(ctx, after(59)).unwrap_err();
            assert_eq!(error.find::<Later>().unwrap().at, after(60));
            assert!(asked().wait_at(ctx, after(60)).unwrap_err().is_fatal());
            let answer = asked().default("None").wait_at(ctx, after(60)).unwrap();
            assert!(answer.is("None") && answer.username.is_none());
            assert_eq!(answer.value::<u32>("count").unwrap(), 3);
        });
        let host = host.answer("How many?", ["Some"], serde_json::json!({"count": 7}));
        let answer = host.run(|ctx| asked().wait_at(ctx, after(1))).unwrap();
        assert_eq!((answer.value::<u32>("count").unwrap(), answer.is("Some")), (7, true));
        assert!(answer.value::<u32>("other").is_err());
    }

    #[test]
    fn what_is_rejected_is_skipped() {
        let answered = |option| crate::testing::Host::new().answer("Go?", [option], serde_json::json!({}));
        assert!(answered(APPROVE).run(|ctx| ask("Go?").approve(ctx)).is_ok());
        let error = answered(REJECT).run(|ctx| ask("Go?").approve(ctx)).unwrap_err();
        assert!(error.find::<Skip>().is_some());
    }
}
