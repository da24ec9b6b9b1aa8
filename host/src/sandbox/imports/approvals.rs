//! `airlock:task/approvals`.

use wasmtime::Result;

use super::answer;
use crate::{
    model::{
        approval::{self, QuestionError},
        spec::ParamSpec,
    },
    sandbox::{
        bindings::airlock::task::{
            approvals::{self, Answer, Question},
            types::Error,
        },
        guest::Guest,
    },
    wire::{Call, Reply},
};

impl approvals::Host for Guest {
    async fn find(&mut self, subject: String) -> Result<Result<Option<Answer>, Error>> {
        answer!(self.attempt.call(Call::ApprovalFind { subject }).await, Reply::Approval(answer) => answer.map(Into::into))
    }
}

impl From<approval::Answer> for Answer {
    fn from(answer: approval::Answer) -> Self {
        Self {
            chosen: answer.chosen,
            values: answer.values,
            username: answer.username,
            timestamp: answer.at.as_micros(),
        }
    }
}

/// What a guest asks.
///
/// # Errors
/// If it is larger than a limit, or could never be answered.
pub fn question(question: Question) -> Result<approval::Question, QuestionError> {
    let field = |field: approvals::Field| ParamSpec { name: field.name, schema: field.schema, default: field.default };
    let question = approval::Question {
        subject: question.subject,
        body: question.body,
        options: question.options,
        multiple: question.multiple,
        defaults: question.defaults,
        fields: question.fields.into_iter().map(field).collect(),
        assignees: question.assignees,
    };
    question.check().map(|()| question)
}
