//! Questions that tasks ask people. Airflow: human in the loop, `HITLDetail`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{spec::ParamSpec, time::Timestamp};

/// Who answers questions that other systems answer. No user has this name.
pub const WEBHOOK: &str = "webhook";

const MAX_SUBJECT_BYTES: usize = 1_000;
const MAX_BODY_BYTES: usize = 64 << 10;
const MAX_OPTION_BYTES: usize = 250;
/// Options, fields and assignees of one question.
const MAX_LIST: usize = 100;
const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Of a field, or of somebody who may answer.
const MAX_NAME_BYTES: usize = 250;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Names the question within a try.
    pub subject: String,
    /// Markdown.
    pub body: Option<String>,
    /// What can be chosen, each once.
    pub options: Vec<String>,
    /// Whether any number of options can be chosen; else exactly one is.
    pub multiple: bool,
    /// What is chosen in the form before somebody does.
    pub defaults: Vec<String>,
    /// Values that the form asks for beside the options. Airflow: `params`.
    pub fields: Vec<ParamSpec>,
    /// The names of those who may answer; empty: everybody. Airflow: `assigned_users`.
    pub assignees: Vec<String>,
}

/// What somebody answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub chosen: Vec<String>,
    /// A JSON object.
    pub values: String,
    pub username: String,
    pub at: Timestamp,
}

/// Why a question can't be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    #[error("the subject has {0} bytes; it must have 1 to {MAX_SUBJECT_BYTES}")]
    Subject(usize),
    #[error("the body has {0} bytes; the limit is {MAX_BODY_BYTES}")]
    Body(usize),
    #[error("it has no options; name what can be chosen")]
    NoOptions,
    #[error("it has {count} {what}; at most {MAX_LIST} are allowed")]
    TooMany { what: &'static str, count: usize },
    #[error("option `{0:.40}` must have 1 to {MAX_OPTION_BYTES} bytes")]
    Option(String),
    #[error("option `{0}` is there twice")]
    Twice(String),
    #[error("default `{0:.40}` is no option")]
    Default(String),
    #[error("it has {0} defaults, and one option can be chosen; let several be chosen, or name one default")]
    Defaults(usize),
    #[error("field `{0:.40}`: its schema is larger than {MAX_SCHEMA_BYTES} bytes")]
    Schema(String),
    #[error("field `{0:.40}`: its default is larger than {MAX_SCHEMA_BYTES} bytes")]
    FieldDefault(String),
    #[error("the name `{0:.40}` of a field or of somebody who may answer must have 1 to {MAX_NAME_BYTES} bytes")]
    Name(String),
    #[error("field `{0:.40}` is there twice")]
    FieldTwice(String),
}

/// Why an answer is none to the question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("choose one of the options {}", shown(.0))]
    NotOne(Vec<String>),
    #[error("`{chosen:.40}` is no option; choose of {}", shown(.options))]
    NoOption { chosen: String, options: Vec<String> },
    #[error("option `{0}` is chosen twice")]
    Twice(String),
    #[error("the question has no field `{0:.40}`")]
    NoField(String),
}

fn shown(options: &[String]) -> String {
    options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ")
}

impl Question {
    /// Whether another system answers it, and no person.
    pub fn is_for_webhook(&self) -> bool {
        self.assignees.len() == 1 && self.assignees[0] == WEBHOOK
    }

    /// # Errors
    /// If it is larger than a limit, or could never be answered as it says.
    pub fn check(&self) -> Result<(), QuestionError> {
        if self.subject.is_empty() || self.subject.len() > MAX_SUBJECT_BYTES {
            return Err(QuestionError::Subject(self.subject.len()));
        }
        if let Some(body) = self.body.as_ref().filter(|body| body.len() > MAX_BODY_BYTES) {
            return Err(QuestionError::Body(body.len()));
        }
        let lists = [
            ("options", self.options.len()),
            ("defaults", self.defaults.len()),
            ("fields", self.fields.len()),
            ("assignees", self.assignees.len()),
        ];
        if let Some((what, count)) = lists.into_iter().find(|(_, count)| *count > MAX_LIST) {
            return Err(QuestionError::TooMany { what, count });
        }
        if self.options.is_empty() {
            return Err(QuestionError::NoOptions);
        }
        let is_bad = |option: &&String| option.is_empty() || option.len() > MAX_OPTION_BYTES;
        if let Some(option) = self.options.iter().find(is_bad) {
            return Err(QuestionError::Option(option.clone()));
        }
        if let Some(option) = twice(&self.options) {
            return Err(QuestionError::Twice(option.clone()));
        }
        if let Some(default) = self.defaults.iter().find(|default| !self.options.contains(default)) {
            return Err(QuestionError::Default(default.clone()));
        }
        if self.defaults.len() > 1 && !self.multiple {
            return Err(QuestionError::Defaults(self.defaults.len()));
        }
        let mut names = self.fields.iter().map(|field| &field.name).chain(&self.assignees);
        if let Some(name) = names.find(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
            return Err(QuestionError::Name(name.clone()));
        }
        let has_large_default =
            |field: &&ParamSpec| field.default.as_ref().is_some_and(|json| json.len() > MAX_SCHEMA_BYTES);
        if let Some(field) = self.fields.iter().find(has_large_default) {
            return Err(QuestionError::FieldDefault(field.name.clone()));
        }
        let is_large = |field: &&ParamSpec| field.schema.len() > MAX_SCHEMA_BYTES;
        if let Some(field) = self.fields.iter().find(is_large) {
            return Err(QuestionError::Schema(field.name.clone()));
        }
        match twice(self.fields.iter().map(|field| &field.name)) {
            Some(name) => Err(QuestionError::FieldTwice(name.clone())),
            None => Ok(()),
        }
    }

    /// Whether `username` may answer.
    pub fn may_answer(&self, username: &str) -> bool {
        self.assignees.is_empty() || self.assignees.iter().any(|name| name == username)
    }

    /// Checks what was chosen, and the names of what was filled in; whether the values fit their schemas is not looked at.
    ///
    /// # Errors
    /// If the options do not allow it, or a field does not exist.
    pub fn check_answer<'a>(
        &self,
        chosen: &[String],
        mut fields: impl Iterator<Item = &'a String>,
    ) -> Result<(), AnswerError> {
        if !self.multiple && chosen.len() != 1 {
            return Err(AnswerError::NotOne(self.options.clone()));
        }
        if let Some(chosen) = chosen.iter().find(|chosen| !self.options.contains(chosen)) {
            return Err(AnswerError::NoOption { chosen: chosen.clone(), options: self.options.clone() });
        }
        if let Some(chosen) = twice(chosen) {
            return Err(AnswerError::Twice(chosen.clone()));
        }
        let is_unknown = |name: &&String| !self.fields.iter().any(|field| field.name == **name);
        fields.find(is_unknown).map_or(Ok(()), |name| Err(AnswerError::NoField(name.clone())))
    }
}

/// The first text that is there twice.
fn twice<'a>(texts: impl IntoIterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = BTreeSet::new();
    texts.into_iter().find(|text| !seen.insert(*text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn question() -> Question {
        Question {
            subject: "Ship it?".into(),
            body: None,
            options: texts(&["Approve", "Reject"]),
            multiple: false,
            defaults: texts(&["Reject"]),
            fields: vec![ParamSpec { name: "why".into(), schema: r#"{"type": "string"}"#.into(), default: None }],
            assignees: texts(&["ann"]),
        }
    }

    #[test]
    fn a_question_that_nobody_could_answer_is_refused() {
        assert_eq!(question().check(), Ok(()));
        let field = question().fields.remove(0);
        let many = vec!["x".to_owned(); MAX_LIST + 1];
        for (question, error) in [
            (Question { subject: String::new(), ..question() }, QuestionError::Subject(0)),
            (Question { body: Some("x".repeat(65_537)), ..question() }, QuestionError::Body(65_537)),
            (Question { options: Vec::new(), ..question() }, QuestionError::NoOptions),
            (Question { options: texts(&["a", ""]), ..question() }, QuestionError::Option(String::new())),
            (Question { options: texts(&["a", "a"]), ..question() }, QuestionError::Twice("a".into())),
            (Question { defaults: texts(&["Maybe"]), ..question() }, QuestionError::Default("Maybe".into())),
            (Question { defaults: texts(&["Approve", "Reject"]), ..question() }, QuestionError::Defaults(2)),
            (
                Question { assignees: many, ..question() },
                QuestionError::TooMany { what: "assignees", count: MAX_LIST + 1 },
            ),
            (
                Question { fields: vec![ParamSpec { schema: " ".repeat(65_537), ..field.clone() }], ..question() },
                QuestionError::Schema("why".into()),
            ),
            (Question { assignees: vec!["x".repeat(251)], ..question() }, QuestionError::Name("x".repeat(251))),
            (
                Question { fields: vec![ParamSpec { name: String::new(), ..field.clone() }], ..question() },
                QuestionError::Name(String::new()),
            ),
            (
                Question {
                    fields: vec![ParamSpec { default: Some(" ".repeat(65_537)), ..field.clone() }],
                    ..question()
                },
                QuestionError::FieldDefault("why".into()),
            ),
            (Question { fields: vec![field.clone(), field], ..question() }, QuestionError::FieldTwice("why".into())),
        ] {
            assert_eq!(question.check(), Err(error));
        }
    }

    #[test]
    fn an_answer_is_one_of_the_options_or_some_of_them() {
        let (one, several) = (question(), Question { multiple: true, ..question() });
        let check = |question: &Question, chosen: &[&str], fields: &[&str]| {
            question.check_answer(&texts(chosen), texts(fields).iter()).map_err(|error| error.to_string())
        };
        assert_eq!(check(&one, &["Approve"], &["why"]), Ok(()));
        assert_eq!(check(&several, &["Reject", "Approve"], &[]), Ok(()));
        assert_eq!(check(&several, &[], &[]), Ok(()));
        for (chosen, fields, error) in [
            (&[][..], &[][..], "choose one of the options `Approve`, `Reject`"),
            (&["Approve", "Reject"], &[], "choose one of the options `Approve`, `Reject`"),
            (&["Maybe"], &[], "`Maybe` is no option; choose of `Approve`, `Reject`"),
            (&["Approve"], &["who"], "the question has no field `who`"),
        ] {
            assert_eq!(check(&one, chosen, fields), Err(error.to_owned()));
        }
        assert_eq!(check(&several, &["Reject", "Reject"], &[]), Err("option `Reject` is chosen twice".to_owned()));
        assert!(one.may_answer("ann") && !one.may_answer("bob"));
        assert!(Question { assignees: Vec::new(), ..question() }.may_answer("bob"));
    }
}
