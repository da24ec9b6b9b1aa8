DELETE FROM artifact
WHERE dag_run = $1 AND (task_id, map_index, name) IN (SELECT task_id, map_index, name FROM artifact WHERE dag_run = $1 LIMIT $2)
RETURNING size_bytes
