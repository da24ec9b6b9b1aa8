//! What retention looks at and deletes, in steps of bounded size.

use super::{
    DagRunKey, DagVersionKey, Store, StoreError,
    codec::json,
    db::{self, QueryAs, each, from_row},
    deletion::{self, Swept},
};
use crate::model::{
    ids::{DagId, Digest, RunId},
    retention::{Part, Place},
    time::Timestamp,
};

/// Runs of which a step takes a part at most.
const PART_RUNS: i64 = 250;
/// Rows that a step takes at most.
const STEP_ROWS: i64 = 1_000;
/// Rows that a step looks at to find those that nothing needs.
const LOOK_ROWS: i64 = 200;

/// A finished run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRun {
    pub key: DagRunKey,
    pub run_id: RunId,
    pub logical_date: Option<Timestamp>,
    pub end_date: Timestamp,
    /// Something in the database needs it.
    pub is_held: bool,
}

impl EndedRun {
    pub fn place(&self) -> Place {
        Place { end_date: self.end_date, key: self.key.0 }
    }
}

/// What a step of deleting a part of runs did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartStep {
    /// Runs that have nothing of it any more.
    pub runs: u64,
    pub swept: Swept,
    pub has_more: bool,
}

/// What runs take up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionSize {
    pub task_instances: i64,
    /// Of artifacts and large XComs.
    pub data_bytes: i64,
    /// Of logs and recordings, as they are stored.
    pub log_bytes: i64,
}

from_row!(EndedRun { key, run_id, logical_date, end_date, is_held });

from_row!(Place { end_date, key });

/// How far a part of the dag `$1` was deleted.
fn deleted_get(part: Part) -> QueryAs<Place> {
    db::query_as(match part {
        Part::Logs => include_str!("sql/dag_logs_deleted_get.sql"),
        Part::Data => include_str!("sql/dag_data_deleted_get.sql"),
    })
}

/// Finished runs after one place up to another, in order; how many is the next parameter.
fn ended_places(dag_id: &DagId, after: Place, until: Place) -> QueryAs<Place> {
    db::query_as(include_str!("sql/dag_run_ended_places.sql"))
        .bind(dag_id)
        .bind(after.end_date)
        .bind(after.key)
        .bind(until.end_date)
        .bind(until.key)
}

impl Store {
    /// The run of the dag after whose end `later` others ended.
    pub async fn dag_run_place(&self, dag_id: &DagId, later: u32) -> Result<Option<Place>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_place.sql")).bind(dag_id).bind(later);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Finished runs after one place up to another, in order.
    pub async fn dag_run_ended(
        &self,
        dag_id: &DagId,
        after: Place,
        until: Place,
        limit: u32,
    ) -> Result<Vec<EndedRun>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_ended.sql"))
            .bind(dag_id)
            .bind(after.end_date)
            .bind(after.key)
            .bind(until.end_date)
            .bind(until.key)
            .bind(limit);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// How far a part of a dag's runs was deleted.
    pub async fn dag_part_deleted_until(&self, dag_id: &DagId, part: Part) -> Result<Option<Place>, StoreError> {
        Ok(deleted_get(part).bind(dag_id).fetch_optional(self.readers()).await?)
    }

    /// Whether a part of the run was deleted when it had ended.
    pub async fn dag_run_part_is_deleted(&self, run: DagRunKey, part: Part) -> Result<bool, StoreError> {
        let query = db::query_scalar(match part {
            Part::Logs => include_str!("sql/dag_run_logs_are_deleted.sql"),
            Part::Data => include_str!("sql/dag_run_data_is_deleted.sql"),
        });
        Ok(query.bind(run).fetch_one(self.readers()).await?)
    }

    /// Runs that still have a part, up to `until`, in the order of their ends.
    pub async fn dag_run_with_part(
        &self,
        dag_id: &DagId,
        part: Part,
        until: Place,
        limit: u32,
    ) -> Result<Vec<Place>, StoreError> {
        let after = self.dag_part_deleted_until(dag_id, part).await?.unwrap_or(Place::FIRST);
        Ok(ended_places(dag_id, after, until).bind(limit).fetch_all(self.readers()).await?)
    }

    /// A step of deleting a part of runs up to `until`, in the order of their ends.
    pub async fn dag_part_delete(&self, dag_id: &DagId, part: Part, until: Place) -> Result<PartStep, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let after = deleted_get(part).bind(dag_id).fetch_optional(&mut *transaction).await?.unwrap_or(Place::FIRST);
        let runs = ended_places(dag_id, after, until).bind(PART_RUNS).fetch_all(&mut *transaction).await?;
        let Some(last) = runs.last().copied() else { return Ok(PartStep::default()) };
        let mut step = PartStep { has_more: true, ..PartStep::default() };
        let keys = json(&runs.iter().map(|run| DagRunKey(run.key)).collect::<Vec<_>>())?;
        let mut room = STEP_ROWS;
        for table in deletion::tables_of(part) {
            room = step.swept.sweep(&mut transaction, table, &keys, room).await?;
            if room <= 0 {
                break;
            }
        }
        if room > 0 {
            // There are no more of any of them.
            let put = db::query(match part {
                Part::Logs => include_str!("sql/dag_logs_deleted_put.sql"),
                Part::Data => include_str!("sql/dag_data_deleted_put.sql"),
            });
            put.bind(dag_id).bind(last.end_date).bind(last.key).execute(&mut *transaction).await?;
            step.runs = runs.len() as u64;
        }
        transaction.commit().await?;
        Ok(step)
    }

    /// What runs take up.
    pub async fn retention_size(&self, runs: &[DagRunKey]) -> Result<RetentionSize, StoreError> {
        let query = db::query_as(each!("retention_sizes")).bind(json(runs)?);
        let (task_instances, data_bytes, log_bytes) = query.fetch_one(self.readers()).await?;
        Ok(RetentionSize { task_instances, data_bytes, log_bytes })
    }

    /// A step of deleting dag_versions that no run was made with and that another took the place of before `before`, or `count`
    /// others (0: however many): looks at some that were made after `after`, and answers the last of them and how many went; none:
    /// there are no more.
    pub async fn dag_version_delete_unused(
        &self,
        after: DagVersionKey,
        before: Timestamp,
        count: u32,
    ) -> Result<Option<(DagVersionKey, u64)>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_version_unused.sql"));
        let query = query.bind(after).bind(before).bind(count).bind(LOOK_ROWS);
        let versions: Vec<(DagVersionKey, bool)> = query.fetch_all(self.readers()).await?;
        let Some((last, _)) = versions.last().copied() else { return Ok(None) };
        let mut deleted = 0;
        for (version, _) in versions.into_iter().filter(|(_, is_unused)| *is_unused) {
            deleted += self.write(db::query(include_str!("sql/dag_version_delete_one.sql")).bind(version)).await?;
        }
        Ok(Some((last, deleted)))
    }

    /// Components after `after`, by digest, and whether no dag_version needs them and they were uploaded before `before`.
    pub async fn component_unused(
        &self,
        after: Option<Digest>,
        before: Timestamp,
    ) -> Result<Vec<(Digest, bool)>, StoreError> {
        let after = after.map_or_else(Vec::new, |digest| digest.0.to_vec());
        let query = db::query_as(include_str!("sql/component_unused.sql")).bind(after).bind(before).bind(LOOK_ROWS);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Deletes a component that no dag_version needs; whether it went. `blob`: the key of its object.
    pub async fn component_delete_unused(&self, component: Digest, blob: &str) -> Result<bool, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let delete = db::query(include_str!("sql/component_delete_unused.sql")).bind(component);
        let is_deleted = delete.execute(&mut *transaction).await? == 1;
        if is_deleted {
            db::query(include_str!("sql/garbage_add.sql")).bind(blob).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(is_deleted)
    }

    /// When the oldest of the last `count` entries of the audit log was written that are not dated after `now`. None: there is
    /// no entry.
    pub async fn event_place(&self, count: u32, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let query = db::query_scalar(include_str!("sql/event_log_place.sql")).bind(count).bind(now);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// A step of deleting entries of the audit log that were written before `before`; how many. One that is dated after `now`,
    /// by a clock that was ahead, stays and keeps no other.
    pub async fn event_delete_before(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let oldest = db::query_scalar(include_str!("sql/event_log_oldest.sql")).bind(now);
        let oldest: Option<Timestamp> = oldest.fetch_optional(self.readers()).await?;
        if oldest.is_none_or(|oldest| oldest >= before) {
            return Ok(0);
        }
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let allow = db::query(include_str!("sql/event_log_retention_put.sql")).bind(before);
        allow.execute(&mut *transaction).await?;
        let delete = db::query(include_str!("sql/event_log_delete_before.sql")).bind(before).bind(STEP_ROWS).bind(now);
        let deleted = delete.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(deleted)
    }

    /// A step of deleting events of assets that came before `before` and that nothing needs: looks at some with keys above
    /// `after`, and answers the last of them and how many went; none: there are no more.
    pub async fn asset_event_delete_unused(
        &self,
        after: i64,
        before: Timestamp,
    ) -> Result<Option<(i64, u64)>, StoreError> {
        let query = db::query_as(include_str!("sql/asset_event_unused.sql")).bind(after).bind(before).bind(LOOK_ROWS);
        let events: Vec<(i64, bool)> = query.fetch_all(self.readers()).await?;
        let Some((last, _)) = events.last().copied() else { return Ok(None) };
        let unused: Vec<_> = events.into_iter().filter(|(_, is_unused)| *is_unused).map(|(key, _)| key).collect();
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        for event in &unused {
            db::query(include_str!("sql/asset_event_delete.sql")).bind(event).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Some((last, unused.len() as u64)))
    }

    /// A step of deleting assets that were last said to be something before `before` and that nothing needs: looks at some with ids
    /// above `after`, and answers the last of them and how many went; none: there are no more.
    pub async fn asset_delete_unused(&self, after: i64, before: Timestamp) -> Result<Option<(i64, u64)>, StoreError> {
        let query = db::query_as(include_str!("sql/asset_unused.sql")).bind(after).bind(before).bind(LOOK_ROWS);
        let assets: Vec<(i64, bool)> = query.fetch_all(self.readers()).await?;
        let Some((last, _)) = assets.last().copied() else { return Ok(None) };
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let mut deleted = 0;
        for (asset, _) in assets.into_iter().filter(|(_, is_unused)| *is_unused) {
            let delete = db::query(include_str!("sql/asset_delete_unused.sql")).bind(asset);
            deleted += delete.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Some((last, deleted)))
    }
}
