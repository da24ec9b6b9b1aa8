//! A finished run goes on under the newest version of its dag.
//!
//! What its graph has in common with the new one stays as it ended, tasks that are new have not run, and those that are gone
//! are gone with their results. Airflow: `run_on_latest_version`.

use std::collections::{BTreeMap, BTreeSet};

use super::{ActiveRun, Driver, Turn, commit::placement, requests::Outcome};
use crate::{
    engine::{InstanceChange, InstanceId},
    scheduler::{RequestError, params, runs, tick::Dispatch},
    store::{DagRunRow, InstanceKey, Renewal},
};

/// A run as it will be under another version; nothing is changed yet.
pub(super) struct Renewed {
    pub run: ActiveRun,
    /// Instances that the version before did not have.
    pub added: BTreeSet<InstanceId>,
    kept: Vec<InstanceId>,
    gone: Vec<InstanceKey>,
}

impl<D: Dispatch> Driver<D> {
    /// The run under the newest version of its dag; none if that is the one it has.
    ///
    /// # Errors
    /// If the run is not finished, or what it was started with does not fit the params of the newest version.
    pub(super) async fn renewed(&mut self, row: &DagRunRow) -> Outcome<Option<Renewed>> {
        let Some(entry) = self.dags.get(&row.dag_id).filter(|entry| entry.row.version != row.version) else {
            return Ok(None);
        };
        let refuse = |why: &str| {
            Err(RequestError::Conflict(format!(
                "dag_run `{}` of dag `{}` can't go on under version {}: {why}",
                row.run_id, row.dag_id, entry.row.version_number
            )))
        };
        if !row.state.is_finished() || self.runs.contains_key(&row.key) {
            return refuse("it is not finished; wait for its end, or mark it as failed");
        }
        let row = self.with_conf(row.clone()).await?;
        let conf = serde_json::from_str(row.conf.as_deref().unwrap_or_default()).unwrap_or_default();
        if let Err(why) = params::check(&entry.row.spec.params, &conf) {
            return refuse(&why);
        }
        let row = DagRunRow { version: entry.row.version, version_number: entry.row.version_number, ..row.clone() };
        let version = self.version(row.version).await.map_err(|error| {
            RequestError::Conflict(format!("the newest version of dag `{}` can't be run: {error}", row.dag_id))
        })?;
        let before: BTreeMap<_, _> = self
            .store
            .task_instance_list_of_run(row.key)
            .await?
            .into_iter()
            .map(runs::snapshot_of)
            .map(|(task_id, map_index, snapshot)| ((task_id, map_index), snapshot))
            .collect();
        // An instance whose task is mapped now and was not, or the other way round, or over fewer elements, is gone.
        let fits = |task_id: &_, map_index: i32| {
            version.dag.index(task_id).is_some_and(|index| match version.dag.expansion(version.dag.node(index)) {
                None => map_index < 0,
                Some(expand) => match expand.fixed_length() {
                    Some(length) => u64::try_from(map_index).is_ok_and(|index| index < length),
                    None => true,
                },
            })
        };
        let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            before.into_iter().partition(|((task_id, map_index), _)| fits(task_id, *map_index));
        let kept: BTreeSet<_> = stay
            .keys()
            .filter_map(|(task_id, map_index)| {
                Some(InstanceId { node: version.dag.index(task_id)?, map_index: *map_index })
            })
            .collect();
        let gone =
            gone.into_keys().map(|(task_id, map_index)| InstanceKey { dag_run: row.key, task_id, map_index }).collect();
        let stay = stay.into_iter().map(|((task_id, map_index), snapshot)| (task_id, map_index, snapshot));
        let run = ActiveRun::restore(row, version, stay);
        let added = run.state.instances().filter(|id| !kept.contains(id)).collect();
        Ok(Some(Renewed { run, added, kept: kept.into_iter().collect(), gone }))
    }

    /// Takes the run among those that have events, and commits its version with the turn.
    pub(super) fn open_renewed(&mut self, renewed: Renewed, turn: &mut Turn) {
        let Renewed { run, added, kept, gone } = renewed;
        let key = run.row.key;
        let instances = kept.iter().map(|id| (run.instance_key(*id), placement(run.version.dag.node(id.node))));
        let renewal = Renewal { dag_run: key, version: run.row.version, instances: instances.collect() };
        turn.tick.commit.renewals.push(renewal);
        for id in &gone {
            self.executor.forget_result(id);
        }
        turn.tick.commit.xcoms_cleared.extend(gone.iter().cloned());
        turn.tick.commit.instances_gone.extend(gone);
        let rows = turn.instances.entry(key).or_default();
        for (instance, row) in added.into_iter().filter_map(|id| Some((id, run.state.instance(id)?))) {
            rows.persist(Box::new(InstanceChange::new(instance, row)));
        }
        self.maybe_over.push(key);
        self.open(run);
    }
}
