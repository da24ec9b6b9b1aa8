//! Dags that are paused because their runs failed one after another: `max_consecutive_failed_dag_runs`.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Driver, Turn};
use crate::{
    model::{ids::DagId, state::RunState, time::Timestamp},
    scheduler::{Change, tick::Dispatch},
    store::{DagRunKey, StoreError},
};

/// When a run was due, and its key: what orders the runs of a dag.
type Place = (Timestamp, DagRunKey);

/// Whether the newest `limit` finished runs all failed. `stored` is what the store says, the newest first; `changed`,
/// by key, what is newer than that.
fn is_streak(
    limit: u32,
    stored: &[(DagRunKey, Timestamp, RunState)],
    changed: &BTreeMap<DagRunKey, (Timestamp, RunState)>,
) -> bool {
    let mut ends: Vec<(Place, RunState)> = stored
        .iter()
        .filter(|(key, ..)| !changed.contains_key(key))
        .map(|(key, at, state)| ((*at, *key), *state))
        .chain(changed.iter().map(|(key, (at, state))| ((*at, *key), *state)))
        .filter(|(_, state)| state.is_finished())
        .collect();
    ends.sort_unstable_by_key(|(place, _)| Reverse(*place));
    let newest = ends.into_iter().take(limit as usize).map(|(_, state)| state);
    newest.filter(|state| *state == RunState::Failed).count() == limit as usize
}

impl<D: Dispatch> Driver<D> {
    /// Pauses the dags among those with a run that failed in this turn whose last runs all failed.
    pub(super) async fn pause_failing(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        while let Some(dag_id) = self.failing.pop_first() {
            let Some(entry) = self.dags.get(&dag_id).filter(|entry| !entry.row.is_paused) else { continue };
            let limit = entry.row.spec.max_consecutive_failed_dag_runs;
            let changed: BTreeMap<_, _> = turn
                .runs
                .keys()
                .filter_map(|key| self.runs.get(key))
                .filter(|run| run.row.dag_id == dag_id)
                .map(|run| (run.row.key, (run.row.run_after, run.row.state)))
                .collect();
            // Those that changed may take the places of as many that are stored.
            let wanted = limit.saturating_add(u32::try_from(changed.len()).unwrap_or(u32::MAX));
            let stored = self.store.dag_run_newest_ends(&dag_id, wanted).await?;
            if is_streak(limit, &stored, &changed) {
                self.pause_for(
                    &dag_id,
                    format!("its last {limit} runs failed (max_consecutive_failed_dag_runs)"),
                    turn,
                );
            }
        }
        Ok(())
    }

    fn pause_for(&mut self, dag_id: &DagId, reason: String, turn: &mut Turn) {
        tracing::warn!(%dag_id, "the dag is paused: {reason}");
        self.admission.set_paused(dag_id, true);
        if let Some(entry) = self.dags.get_mut(dag_id) {
            entry.row.is_paused = true;
            entry.row.pause_reason = Some(reason.clone());
        }
        turn.tick.commit.dags_paused.push((dag_id.clone(), reason));
        turn.tick.change(Change::Dag { dag_id: dag_id.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: i64) -> Timestamp {
        Timestamp::from_micros(us)
    }

    #[test]
    fn only_failures_without_a_success_between_are_a_streak() {
        use RunState::{Failed, Queued, Success};
        let stored = [(DagRunKey(3), at(3), Failed), (DagRunKey(2), at(2), Failed), (DagRunKey(1), at(1), Success)];
        let none = BTreeMap::new();
        assert!(is_streak(2, &stored, &none));
        assert!(!is_streak(3, &stored, &none), "the third succeeded");
        assert!(!is_streak(4, &stored, &none), "there are no four");
        let fourth = BTreeMap::from([(DagRunKey(4), (at(4), Failed))]);
        assert!(is_streak(3, &stored, &fourth));
        let between = BTreeMap::from([(DagRunKey(4), (at(2), Success))]);
        assert!(!is_streak(3, &stored, &between), "one between the two succeeded now");
        let cleared = BTreeMap::from([(DagRunKey(3), (at(3), Queued))]);
        assert!(!is_streak(2, &stored, &cleared), "one that runs again counts when it ends");
    }
}
