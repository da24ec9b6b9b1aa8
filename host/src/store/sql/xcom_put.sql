INSERT INTO xcom (dag_run, task_id, map_index, key, media_type, size_bytes, created_at, blob, body)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
WHERE EXISTS (SELECT 1 FROM task_instance WHERE dag_run = $1 AND task_id = $2 AND map_index = $3)
ON CONFLICT (dag_run, task_id, map_index, key) DO UPDATE
SET media_type = excluded.media_type, size_bytes = excluded.size_bytes, created_at = excluded.created_at, blob = excluded.blob,
    body = excluded.body
