//! `approvals` of `wit/task.wit`.

use serde_json::Value;

use super::{Shared, storage_failed};
use crate::{
    executor::books::Attempt,
    model::{
        approval::Question,
        schema::{Effort, Schema},
    },
    wire::{CallError, Reply},
};

/// The answer to a question of this try.
pub(super) async fn find(shared: &Shared, attempt: &Attempt, subject: &str) -> Result<Reply, CallError> {
    let id = attempt.id();
    let found = shared.store.approval_get(&id.instance, id.try_number, subject).await;
    Ok(Reply::Approval(found.map_err(|error| storage_failed(&error))?.and_then(|row| row.answer)))
}

/// Whether the question may be asked.
pub(in crate::executor) fn check(question: &Question) -> Result<(), String> {
    let refused = |why: &dyn std::fmt::Display| format!("the question can't be asked: {why}");
    question.check().map_err(|error| refused(&error))?;
    let mut effort = Effort::default();
    for field in &question.fields {
        let about = |why: &dyn std::fmt::Display| refused(&format_args!("field `{}`: {why}", field.name));
        let schema: Value = serde_json::from_str(&field.schema).map_err(|error| about(&error))?;
        let schema = Schema::new(&schema, &mut effort).map_err(|error| about(&error))?;
        if let Some(default) = &field.default {
            let default: Value = serde_json::from_str(default).map_err(|error| about(&error))?;
            schema.check(&default, &mut effort).map_err(|error| about(&error))?;
        }
    }
    Ok(())
}
