//! Where the pieces of attempts' logs are.

use sqlx::{Row as _, sqlite::SqliteRow};

use super::{InstanceKey, LogChunkRow, MAX_PAGE, Store, StoreError, codec::json, commit::key};

impl sqlx::FromRow<'_, SqliteRow> for LogChunkRow {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            instance: InstanceKey::from_row(row)?,
            try_number: row.try_get("try_number")?,
            seq: row.try_get("seq")?,
            blob: row.try_get("blob")?,
            offset: row.try_get("offset_bytes")?,
            length: row.try_get("length_bytes")?,
            lines: row.try_get("lines")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

impl Store {
    /// Adds pieces whose objects are stored already.
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
            let query = sqlx::query(include_str!("sql/log_chunk_append.sqlite.sql"));
            self.write(query.bind(json(&rows.collect::<Vec<_>>())?)).await?;
        }
        Ok(())
    }

    /// The pieces of a try's log, in order.
    pub async fn log_chunk_list(
        &self,
        instance: &InstanceKey,
        try_number: u32,
    ) -> Result<Vec<LogChunkRow>, StoreError> {
        let query = sqlx::query_as(include_str!("sql/log_chunk_list.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(try_number);
        Ok(query.fetch_all(self.readers()).await?)
    }
}
