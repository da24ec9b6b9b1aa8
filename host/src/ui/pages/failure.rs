//! Why runs failed: what they say themselves, or else their task that failed first.

use std::collections::BTreeMap;

use super::run::{label, shortened};
use crate::{
    model::state::RunState,
    store::{DagRunKey, DagRunRow, TaskInstanceRow},
    ui::{UiState, doc, error::UiError, links, show::Html},
};

/// What lists say of each of `runs` that has something to say.
pub async fn reasons(ui: &UiState, runs: &[DagRunRow]) -> Result<BTreeMap<DagRunKey, Html>, UiError> {
    let told = runs.iter().filter_map(|run| Some((run.key, doc::line(&shortened(run.message.as_deref()?)))));
    let mut reasons: BTreeMap<_, _> = told.collect();
    let failed = |run: &&DagRunRow| run.state == RunState::Failed && run.message.is_none();
    let silent: Vec<_> = runs.iter().filter(failed).map(|run| run.key).collect();
    for row in ui.store.task_instance_first_failed(&silent).await? {
        let mut reason = link(&row);
        if let Some(message) = &row.message {
            reason = reason.text(": ").markup(doc::line(&shortened(message)));
        }
        reasons.insert(row.dag_run, reason);
    }
    Ok(reasons)
}

/// The task instance, as a link to its page.
pub fn link(row: &TaskInstanceRow) -> Html {
    let href = links::task(&row.dag_id, &row.run_id, &row.task_id, row.map_index);
    Html::new().link(&href, label(&row.task_id, row.map_index, row.rendered_map_index.as_deref()))
}
