//! How many runs a dag has on which day.

use super::{
    Store, StoreError,
    codec::json,
    db::{self, each},
};
use crate::model::{days::Day, ids::DagId, time::Timestamp};

/// Runs of a day that are counted, at most: a look at a year costs no more than so many entries of an index for each day.
pub const MOST_OF_DAY: u32 = 1_000;
/// Unfinished runs that are looked at, at most.
pub const MOST_UNFINISHED: u32 = 10_000;

impl Store {
    /// How many runs of the dag are to start on each of the days (by `run_after`), and how many of them failed; each at most
    /// [`MOST_OF_DAY`].
    pub async fn dag_run_days(&self, dag_id: &DagId, days: &[Day]) -> Result<Vec<(i64, i64)>, StoreError> {
        let bounds: Vec<_> = days.iter().map(|day| (day.start.as_micros(), day.end.as_micros())).collect();
        let query = db::query_as(each!("dag_run_days")).bind(dag_id).bind(json(&bounds)?).bind(MOST_OF_DAY);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// When the dag's runs that are not over were to start: of the oldest [`MOST_UNFINISHED`].
    pub async fn dag_run_unfinished_of(&self, dag_id: &DagId) -> Result<Vec<Timestamp>, StoreError> {
        let query = db::query_scalar(include_str!("sql/dag_run_unfinished_of.sql")).bind(dag_id).bind(MOST_UNFINISHED);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// When the first and the last run of the dag were to start; None: it has none.
    pub async fn dag_run_first_and_last(&self, dag_id: &DagId) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_first_and_last.sql")).bind(dag_id);
        let (first, last): (Option<Timestamp>, Option<Timestamp>) = query.fetch_one(self.readers()).await?;
        Ok(first.zip(last))
    }
}
