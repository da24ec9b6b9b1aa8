//! Who was told of a run, on its page.

use crate::{
    model::time::Timestamp,
    store::{CallbackRow, DagRunRow, Page, Store, StoreError},
    ui::{
        links,
        show::{When, Zones},
    },
};

/// Lines at most; the API has the others.
const MOST: u32 = 100;

/// One callback.
pub struct CallbackLine {
    /// What is told, and of which try.
    pub event: String,
    /// The task instance and its page; none: it is about the run.
    pub task: Option<(String, String)>,
    pub target: String,
    pub state: String,
    pub at: When,
    pub error: String,
}

/// The callbacks of `run`, the oldest first.
///
/// # Errors
/// If the store can't be read.
pub async fn lines(store: &Store, run: &DagRunRow, zone: Zones) -> Result<Vec<CallbackLine>, StoreError> {
    let rows = store.callback_list(run.key, Page::first(MOST)).await?.items;
    Ok(rows.into_iter().map(|row| line(run, row, zone)).collect())
}

fn line(run: &DagRunRow, row: CallbackRow, zone: Zones) -> CallbackLine {
    let callback = row.callback;
    let task = callback.task_id.map(|task_id| {
        let href = links::task(&run.dag_id, &run.run_id, &task_id, callback.map_index);
        (super::run::label(&task_id, callback.map_index, None), href)
    });
    let tried: Timestamp = if row.state == "pending" { row.due_at } else { row.created_at };
    CallbackLine {
        event: match &task {
            Some(_) => format!("{}, try {}", callback.event.as_str(), callback.number),
            None => callback.event.as_str().to_owned(),
        },
        task,
        target: callback.target.to_string(),
        state: match row.attempts {
            0 | 1 => row.state,
            several => format!("{}, {several} attempts", row.state),
        },
        at: When { at: Some(tried), zone },
        error: row.error.unwrap_or_default(),
    }
}
