DELETE FROM recording
WHERE dag_run = $1
    AND (task_id, map_index, try_number) IN (SELECT task_id, map_index, try_number FROM recording WHERE dag_run = $1 LIMIT $2)
RETURNING size_bytes
