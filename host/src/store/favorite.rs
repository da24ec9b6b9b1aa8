//! Dags that users marked for themselves.

use std::collections::BTreeSet;

use super::{
    Store, StoreError,
    codec::json,
    db::{self, each},
};
use crate::model::ids::DagId;

impl Store {
    /// Whether the mark is new. It is not if the dag is marked already, or the dag or the user is gone.
    pub async fn dag_favorite_put(&self, username: &str, dag_id: &DagId) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/dag_favorite_put.sql")).bind(username).bind(dag_id);
        Ok(self.write(query).await? == 1)
    }

    /// Whether there was a mark.
    pub async fn dag_favorite_delete(&self, username: &str, dag_id: &DagId) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/dag_favorite_delete.sql")).bind(username).bind(dag_id);
        Ok(self.write(query).await? == 1)
    }

    /// Which of `dags` the user marked.
    pub async fn dag_favorite_list(&self, username: &str, dags: &[DagId]) -> Result<BTreeSet<DagId>, StoreError> {
        let query = db::query_scalar(each!("dag_favorite_list")).bind(username).bind(json(dags)?);
        Ok(query.fetch_all(self.readers()).await?.into_iter().collect())
    }
}
