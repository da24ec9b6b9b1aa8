//! What users may do with which dags, and the tags that this goes by.

use super::{
    Store, StoreError,
    codec::json_text,
    db::{self, Row},
};
use crate::model::{
    dag_access::{DagAccess, DagPermission},
    ids::DagId,
    role::Role,
};

/// The column `dag_permissions` of a user's row.
pub(super) fn of_row(row: &Row) -> sqlx::Result<Vec<DagPermission>> {
    let text: Option<String> = row.try_get("dag_permissions")?;
    let read = text.map(|text| serde_json::from_str(&text)).transpose();
    Ok(read.map_err(|error| sqlx::Error::Decode(error.into()))?.unwrap_or_default())
}

/// What the user of a row may do, whose role is in `role`.
pub(super) fn access_of_row(row: &Row, role: &str) -> sqlx::Result<DagAccess> {
    let role: Role = row.try_get(role)?;
    Ok(DagAccess::new(role, &of_row(row)?))
}

/// For the column.
pub(super) fn column(permissions: &[DagPermission]) -> Result<Option<String>, StoreError> {
    if permissions.is_empty() { Ok(None) } else { json_text(permissions).map(Some) }
}

impl Store {
    /// The tags of a dag's newest version; none if there is no such dag.
    pub async fn dag_tags(&self, dag_id: &DagId) -> Result<Vec<String>, StoreError> {
        let query = db::query_scalar(include_str!("sql/dag_tags.sql")).bind(dag_id);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// All dags by id, each with the tags of its newest version.
    pub async fn dag_tags_all(&self) -> Result<Vec<(DagId, Vec<String>)>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_tags_all.sql"));
        let rows: Vec<(DagId, Option<String>)> = query.fetch_all(self.readers()).await?;
        let mut dags: Vec<(DagId, Vec<String>)> = Vec::new();
        for (dag_id, tag) in rows {
            match dags.last_mut() {
                Some((last, tags)) if *last == dag_id => tags.extend(tag),
                _ => dags.push((dag_id, tag.into_iter().collect())),
            }
        }
        Ok(dags)
    }
}
