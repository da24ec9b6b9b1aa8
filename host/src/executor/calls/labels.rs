//! `labels` of `wit/task.wit`: what the page calls an instance.

use super::{invalid, over};
use crate::{
    executor::books::Attempt,
    model::template::cut_label,
    secrets::Masker,
    wire::{CallError, Reply},
};

/// What is looked at of a label: more than is kept, and less than would take long.
const MAX_SEEN_BYTES: usize = 64 << 10;

/// Keeps the label until the attempt ends. Secrets are hidden before it is cut, for what is left of one would not be found any more.
pub(super) fn set(attempt: &Attempt, label: &str) -> Result<Reply, CallError> {
    let node = attempt.node();
    if attempt.id().instance.map_index < 0 {
        let why = "it has one instance, which its task_id names";
        return Err(invalid(format!("task `{}` is not mapped and has no label: {why}", node.task_id)));
    }
    let label = attempt.effects(|effects| hidden(effects.masker(), label.trim())).ok_or_else(over)?;
    let label = cut_label(&label).ok_or_else(|| invalid(format!("the label of task `{}` is empty", node.task_id)))?;
    attempt.effects(|effects| effects.label = Some(label)).ok_or_else(over)?;
    Ok(Reply::Unit)
}

/// The label, or the beginning of a long one, without secrets.
fn hidden(masker: &Masker, label: &str) -> String {
    match label.split_at(label.floor_char_boundary(MAX_SEEN_BYTES)) {
        (whole, "") => masker.mask(whole).into_owned(),
        (beginning, _) => masker.mask_cut(beginning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_label_the_beginning_is_looked_at_and_shows_no_secret() {
        let long = "s".repeat(MAX_SEEN_BYTES + 9);
        let masker = Masker::new(["swordfish", long.as_str()]);
        assert_eq!(hidden(&masker, "a swordfish, a sword"), "a ***, a sword");
        assert_eq!(hidden(&masker, &long[1..]), "***");
        let many = " x".repeat(MAX_SEEN_BYTES);
        assert_eq!(hidden(&masker, &many), many[..MAX_SEEN_BYTES]);
    }
}
