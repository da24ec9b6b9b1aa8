//! `labels` of `wit/task.wit`: what the page calls an instance.

use super::{invalid, over};
use crate::{
    executor::books::Attempt,
    model::template::cut_label,
    wire::{CallError, Reply},
};

/// Keeps the label until the attempt ends. Secrets are hidden before it is cut, for what is left of one would not be found any more.
pub(super) fn set(attempt: &Attempt, label: &str) -> Result<Reply, CallError> {
    let node = attempt.node();
    if attempt.id().instance.map_index < 0 {
        let why = "it has one instance, which its task_id names";
        return Err(invalid(format!("task `{}` is not mapped and has no label: {why}", node.task_id)));
    }
    let label = attempt.effects(|effects| effects.masker().mask(label).into_owned()).ok_or_else(over)?;
    let label = cut_label(&label).ok_or_else(|| invalid(format!("the label of task `{}` is empty", node.task_id)))?;
    attempt.effects(|effects| effects.label = Some(label)).ok_or_else(over)?;
    Ok(Reply::Unit)
}
