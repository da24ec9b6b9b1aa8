//! Where the pieces of attempts' logs are.

use std::collections::BTreeSet;

use super::{
    InstanceKey, LogChunkRow, MAX_PAGE, Store, StoreError,
    codec::json,
    commit::key,
    db::{self, each, from_row},
};

from_row!(LogChunkRow {
    try_number,
    seq,
    blob,
    offset: "offset_bytes",
    length: "length_bytes",
    lines,
    created_at,
    ..instance
});

impl Store {
    /// Adds pieces whose objects are stored already; none to the log of a run that was deleted meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if one of them is there.
    pub async fn log_chunk_append(&self, chunks: &[LogChunkRow]) -> Result<(), StoreError> {
        for chunks in chunks.chunks(MAX_PAGE as usize) {
            let rows = chunks.iter().map(|chunk| {
                let (dag_run, task_id, map_index) = key(&chunk.instance);
                let (created_at, blob) = (chunk.created_at.as_micros(), &chunk.blob);
                let place = (chunk.seq, chunk.offset, chunk.length, chunk.lines);
                (dag_run, task_id, map_index, chunk.try_number, place.0, place.1, place.2, place.3, created_at, blob)
            });
            let rows = json(&rows.collect::<Vec<_>>())?;
            let blobs: BTreeSet<_> = chunks.iter().map(|chunk| &chunk.blob).collect();
            let mut writer = self.writer().await?;
            let mut transaction = writer.begin().await?;
            let append = db::query(each!("log_chunk_append")).bind(rows);
            let added = append.execute(&mut *transaction).await?;
            for blob in blobs {
                // What was left out before may have been all of it.
                db::query(include_str!("sql/garbage_take_back.sql")).bind(blob).execute(&mut *transaction).await?;
                if added < chunks.len() as u64 {
                    let add = db::query(include_str!("sql/garbage_add_unnamed_log.sql")).bind(blob);
                    add.execute(&mut *transaction).await?;
                }
            }
            transaction.commit().await?;
        }
        Ok(())
    }

    /// The pieces of a try's log, in order.
    pub async fn log_chunk_list(
        &self,
        instance: &InstanceKey,
        try_number: u32,
    ) -> Result<Vec<LogChunkRow>, StoreError> {
        let query = db::query_as(include_str!("sql/log_chunk_list.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(try_number);
        Ok(query.fetch_all(self.readers()).await?)
    }
}
