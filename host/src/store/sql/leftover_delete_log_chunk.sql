DELETE FROM log_chunk
WHERE dag_run = $1 AND (task_id, map_index, try_number, seq) IN (SELECT task_id, map_index, try_number, seq FROM log_chunk WHERE dag_run = $1 LIMIT $2)
RETURNING length_bytes
