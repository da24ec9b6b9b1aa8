//! What admins decided about what dags ask to reach.

use std::collections::BTreeMap;

use super::{
    Audit, Store, StoreError, Transaction,
    codec::json,
    db::{self, each, from_row},
};
use crate::model::{
    grants::{Decisions, Grant, GrantError, GrantsPolicy},
    ids::DagId,
    time::Timestamp,
};

/// A decision, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagGrantRow {
    pub request: Grant,
    /// Else it was revoked.
    pub is_approved: bool,
    pub decided_at: Timestamp,
    pub decided_by: String,
}

/// What became of a change of a dag's decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantsChanged {
    /// Which may have changed nothing.
    Done,
    /// There is no such dag.
    NoDag,
    /// Nothing was changed.
    Refused(GrantError),
}

from_row!(DagGrantRow { request, is_approved, decided_at, decided_by });

/// A row of a dag's policy, or of a decision about it: one of the two is there.
type PartOfDecisions = (DagId, Option<GrantsPolicy>, Option<Grant>, Option<bool>);

fn gather(rows: Vec<PartOfDecisions>) -> BTreeMap<DagId, Decisions> {
    let mut all = BTreeMap::<DagId, Decisions>::new();
    for (dag_id, policy, request, is_approved) in rows {
        let decisions = all.entry(dag_id).or_default();
        decisions.policy = policy.or(decisions.policy.take());
        decisions.by_grant.extend(request.zip(is_approved));
    }
    all
}

/// The decisions about a dag that is there; None: there is no such dag.
async fn get(transaction: &mut Transaction<'_>, dag_id: &DagId) -> Result<Option<Decisions>, StoreError> {
    let dag: Option<i64> =
        db::query_scalar(include_str!("sql/dag_exists.sql")).bind(dag_id).fetch_optional(&mut **transaction).await?;
    if dag.is_none() {
        return Ok(None);
    }
    let rows = db::query_as(each!("dag_decisions")).bind(json(&[dag_id])?).fetch_all(&mut **transaction).await?;
    Ok(Some(gather(rows).remove(dag_id).unwrap_or_default()))
}

/// Makes `after` of the decisions `before`, in the name of `user`: what stays keeps its time and its name.
async fn put(
    transaction: &mut Transaction<'_>,
    dag_id: &DagId,
    (before, after): (&Decisions, &Decisions),
    (user, now): (&str, Timestamp),
) -> Result<(), StoreError> {
    for gone in before.by_grant.keys().filter(|grant| !after.by_grant.contains_key(grant)) {
        let query = db::query(include_str!("sql/dag_grant_delete.sql")).bind(dag_id).bind(gone);
        query.execute(&mut **transaction).await?;
    }
    for (grant, is_approved) in &after.by_grant {
        if before.by_grant.get(grant) == Some(is_approved) {
            continue;
        }
        db::query(include_str!("sql/dag_grant_put.sql"))
            .bind(dag_id)
            .bind(grant)
            .bind(is_approved)
            .bind(now)
            .bind(user)
            .execute(&mut **transaction)
            .await?;
    }
    if before.policy != after.policy {
        let query = db::query(include_str!("sql/dag_set_grants_policy.sql")).bind(dag_id).bind(&after.policy);
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Replaces the decisions about a dag. One that is not there has none.
pub(super) async fn replace(
    transaction: &mut Transaction<'_>,
    dag_id: &DagId,
    after: &Decisions,
    by: (&str, Timestamp),
) -> Result<(), StoreError> {
    match get(transaction, dag_id).await? {
        Some(before) => put(transaction, dag_id, (&before, after), by).await,
        None => Ok(()),
    }
}

impl Store {
    /// The decisions about a dag by request, with who made them.
    pub async fn dag_grant_list(&self, dag_id: &DagId) -> Result<Vec<DagGrantRow>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_grant_list.sql")).bind(dag_id);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// The decisions about these dags; those about which there are none are left out.
    pub async fn dag_decisions(&self, dag_ids: &[DagId]) -> Result<BTreeMap<DagId, Decisions>, StoreError> {
        let query = db::query_as(each!("dag_decisions")).bind(json(dag_ids)?);
        Ok(gather(query.fetch_all(self.readers()).await?))
    }

    /// The decisions about all dags about which there are some.
    pub async fn dag_decisions_all(&self) -> Result<BTreeMap<DagId, Decisions>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_decisions_all.sql"));
        Ok(gather(query.fetch_all(self.readers()).await?))
    }

    /// Applies `change` to the decisions about a dag, in the name of a user. Others' changes come before or after it.
    pub async fn dag_decisions_change(
        &self,
        dag_id: &DagId,
        by: (&str, Timestamp),
        change: impl FnOnce(&mut Decisions) -> Result<(), GrantError>,
    ) -> Result<GrantsChanged, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let Some(before) = get(&mut transaction, dag_id).await? else {
            return Ok(GrantsChanged::NoDag);
        };
        let mut after = before.clone();
        if let Err(error) = change(&mut after) {
            return Ok(GrantsChanged::Refused(error));
        }
        put(&mut transaction, dag_id, (&before, &after), by).await?;
        Audit::tell("grants", &before.shown(), &after.shown());
        transaction.commit().await?;
        Ok(GrantsChanged::Done)
    }
}
