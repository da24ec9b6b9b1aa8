SELECT dag_run, task_id, map_index, try_number, size_bytes, created_at, blob
FROM recording
WHERE dag_run = $1 AND task_id = $2 AND map_index = $3
ORDER BY try_number DESC
LIMIT 1000
