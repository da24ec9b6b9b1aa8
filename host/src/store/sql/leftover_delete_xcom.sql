DELETE FROM xcom
WHERE dag_run = $1 AND (task_id, map_index, key) IN (SELECT task_id, map_index, key FROM xcom WHERE dag_run = $1 LIMIT $2)
RETURNING size_bytes
