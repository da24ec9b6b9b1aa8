//! Answers, as a test gives them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Host, host::with};
use crate::{approval::RawAnswer, error::HostError};

/// What the test answers, by the question's subject.
pub(super) type Answers = BTreeMap<String, (Vec<String>, String)>;

impl Host {
    /// Answers the question `subject` by these options and values of its fields, a JSON object, as user `test`.
    pub fn answer<T: Into<String>>(
        self,
        subject: impl Into<String>,
        chosen: impl IntoIterator<Item = T>,
        values: impl Into<serde_json::Value>,
    ) -> Self {
        let values: serde_json::Value = values.into();
        let chosen = chosen.into_iter().map(Into::into).collect();
        self.with(|state| drop(state.answers.insert(subject.into(), (chosen, values.to_string()))))
    }
}

pub fn approval_find(subject: &str) -> Result<Option<RawAnswer>, HostError> {
    with(subject, |state| {
        let answer = |(chosen, values): (Vec<String>, String)| RawAnswer {
            chosen,
            values,
            username: "test".to_owned(),
            timestamp: DateTime::<Utc>::MAX_UTC,
        };
        Ok(state.answers.get(subject).cloned().map(answer))
    })
}
