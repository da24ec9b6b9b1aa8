SELECT dag_run, task_id, map_index, try_number, seq, offset_bytes, length_bytes, lines, created_at, blob
FROM log_chunk
WHERE dag_run = $1 AND task_id = $2 AND map_index = $3 AND try_number = $4
ORDER BY seq
