//! What a run was given at its trigger: left in the database while the run waits, of which there may be very many.

use super::{super::tick::Dispatch, Driver};
use crate::store::{DagRunRow, StoreError};

/// A conf that is longer is not kept in memory while its run waits: so much as the rest of the row has.
const MAX_KEPT_CONF_BYTES: usize = 256;

impl<D: Dispatch> Driver<D> {
    /// A run's row with what it was given, which is read if the row came without.
    pub(super) async fn with_conf(&self, mut row: DagRunRow) -> Result<DagRunRow, StoreError> {
        if row.conf.is_none() {
            row.conf = self.store.dag_run_conf(row.key).await?;
        }
        Ok(row)
    }
}

/// Forgets what need not be in memory while a run waits.
pub fn rest(row: &mut DagRunRow) {
    row.conf.take_if(|conf| conf.len() > MAX_KEPT_CONF_BYTES);
}
