//! That whoever waits is woken: in no state that is committed does anybody wait for what has come.
//!
//! Only rows are asked, and nothing that the loop knows.

use std::collections::BTreeSet;

use crate::{
    model::{state::TaskState, wait::Wait},
    store::{DagRunFilter, InstanceKey, Page, Store, WaitRow},
};

/// Who waits.
#[derive(Debug, Default)]
pub struct Waiters {
    excused: BTreeSet<InstanceKey>,
}

impl Waiters {
    /// Runs may be deleted now. One that ended long ago may be the newest then; nothing has ended, and nobody is woken.
    pub async fn excuse(&mut self, store: &Store) {
        self.excused.extend(store.wait_list(None).await.unwrap().into_iter().map(|row| row.instance));
    }

    pub async fn check(&mut self, store: &Store) {
        let rows = store.wait_list(None).await.unwrap();
        self.excused.retain(|instance| rows.iter().any(|row| row.instance == *instance));
        for row in rows {
            // What a deleted run leaves is swept away later.
            let Some(waiter) = store.task_instance_get(&row.instance).await.unwrap() else { continue };
            assert_eq!(waiter.state, TaskState::UpForReschedule, "{row:?} does not wait");
            let is_excused = self.excused.contains(&row.instance);
            assert!(is_excused || !has_come(store, &row, waiter.try_number).await, "{row:?} waits for what has come");
        }
    }
}

async fn has_come(store: &Store, row: &WaitRow, try_number: u32) -> bool {
    match &row.wait {
        Wait::Run(wait) => {
            let filter = DagRunFilter::of_dag(wait.of.dag_id.clone());
            let runs = store.dag_run_list(&filter, Page::first(1_000)).await.unwrap().items;
            let newest = runs.into_iter().max_by_key(|run| (run.run_after, run.key));
            newest.is_some_and(|run| run.state.is_finished())
        }
        Wait::Asset { asset, since } => {
            let asset = store.asset_get_by_name(asset).await.unwrap();
            asset.and_then(|asset| asset.last_event).is_some_and(|(_, at)| at > *since)
        }
        Wait::Approval(question) => {
            let asked = store.approval_get(&row.instance, try_number, &question.subject).await.unwrap();
            asked.is_some_and(|asked| asked.answer.is_some())
        }
    }
}
