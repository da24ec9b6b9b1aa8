//! Assets that are updated, and the runs that are made for them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Driver, Turn};
use crate::{
    engine::InstanceId,
    model::{
        asset::Added,
        ids::{AssetName, DagId, RunId},
        time::Timestamp,
    },
    scheduler::{RequestError, runs, tick::Dispatch},
    store::{AssetEventNew, DagRunKey, InstanceKey, QueuedEventFilter, StoreError, Through},
};

impl<D: Dispatch> Driver<D> {
    /// An instance has succeeded: each of its outlets is updated, in the same commit.
    pub(super) fn update_outlets(
        &mut self,
        key: DagRunKey,
        instance: InstanceId,
        mut extras: BTreeMap<AssetName, String>,
        added: Vec<Added>,
        turn: &mut Turn,
    ) {
        let Some(run) = self.runs.get(&key) else { return };
        let node = run.version.dag.node(instance.node);
        if node.outlets.is_empty() {
            return;
        }
        // What goes through an alias has the events, not the alias.
        let is_alias = |name: &AssetName| run.version.dag.aliases.contains(name);
        let outlets: Vec<_> = node.outlets.iter().filter(|name| !is_alias(name)).cloned().collect();
        let source = (run.row.dag_id.clone(), run.row.run_id.clone(), run.instance_key(instance));
        for asset in outlets {
            let extra = extras.remove(&asset).unwrap_or_else(|| "{}".to_owned());
            self.update_asset(asset, extra, Some(source.clone()), None, None, turn);
        }
        for Added { alias, name, uri, group, extra } in added {
            self.update_asset(name, extra, Some(source.clone()), None, Some((alias, uri, group)), turn);
        }
    }

    /// Lets the dags that wait for `name` know that it was updated.
    fn tell_consumers(&mut self, name: &AssetName) -> Vec<DagId> {
        let consumers = self.dags.consumers(name);
        for dag_id in &consumers {
            if let Some(entry) = self.dags.get_mut(dag_id) {
                entry.updated.insert(name.clone());
                self.touched.insert(dag_id.clone());
            }
        }
        consumers
    }

    /// `through`: the alias, and the uri and group of an asset that is not there yet.
    fn update_asset(
        &mut self,
        asset: AssetName,
        extra: String,
        source: Option<(DagId, RunId, InstanceKey)>,
        created_by: Option<String>,
        through: Option<(AssetName, String, String)>,
        turn: &mut Turn,
    ) -> i64 {
        let key = self.next_event;
        self.next_event += 1;
        let consumers = self.tell_consumers(&asset);
        let through = through.map(|(alias, uri, group)| {
            let consumers = self.tell_consumers(&alias);
            Through { alias, consumers, uri, group }
        });
        let waiters = self.waits.of_asset(&asset);
        self.wake_all(waiters, turn);
        let timestamp = turn.now();
        turn.tick.commit.asset_events.push(AssetEventNew {
            key,
            asset,
            timestamp,
            extra,
            source,
            created_by,
            consumers,
            through,
        });
        key
    }

    pub(super) async fn asset_event(
        &mut self,
        asset: AssetName,
        extra: String,
        user: String,
        turn: &mut Turn,
    ) -> Result<(i64, Timestamp), RequestError> {
        match self.store.asset_get_by_name(&asset).await? {
            None => return Err(RequestError::NotFound(format!("asset `{asset}` does not exist"))),
            Some(row) if row.is_alias => {
                return Err(RequestError::Invalid(format!(
                    "`{asset}` is an alias, which has no events of its own; update an asset that goes through it"
                )));
            }
            Some(_) => {}
        }
        let key = self.update_asset(asset, extra, None, Some(user), None, turn);
        // The event has the time of its turn.
        Ok((key, turn.now()))
    }

    /// Makes the run that a dag's assets ask for, if they do. It consumes all events that wait for the dag.
    pub(super) fn run_for_assets(&mut self, dag_id: &DagId, turn: &mut Turn) {
        let Some(entry) = self.dags.get_mut(dag_id).filter(|entry| entry.is_due_by_assets()) else { return };
        entry.updated.clear();
        entry.asset_triggered += 1;
        let (version, number) = (entry.row.version, entry.row.version_number);
        let new = runs::asset_triggered(DagRunKey(self.next_key), dag_id, version, turn.now());
        turn.tick.commit.asset_runs.push((new.key, dag_id.clone()));
        self.add_run(new, number, turn);
    }

    /// Drops events that were not consumed. Those of this turn are committed before.
    pub(super) async fn asset_queue_delete(&mut self, which: &QueuedEventFilter) -> Result<u64, StoreError> {
        let names = || self.store.asset_queue_names();
        let queued = self.until_answered(names).await?;
        let count = self.until_answered(|| self.store.asset_queue_delete(which)).await?;
        let left: BTreeSet<_> = self.until_answered(names).await?.into_iter().collect();
        for (dag_id, name) in queued.into_iter().filter(|queued| !left.contains(queued)) {
            if let Some(entry) = self.dags.get_mut(&dag_id) {
                entry.updated.remove(&name);
            }
        }
        Ok(count)
    }
}
