SELECT dag_run, task_id, map_index, try_number, name, media_type, size_bytes, sha256, blob, created_at
FROM artifact
WHERE dag_run = $1 AND task_id = $2 AND map_index = $3
ORDER BY name
LIMIT 1000
