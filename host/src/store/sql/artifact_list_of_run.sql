SELECT dag_run, task_id, map_index, try_number, name, media_type, size_bytes, sha256, blob, created_at
FROM artifact
WHERE dag_run = $1
ORDER BY task_id, map_index, name
LIMIT 1000
