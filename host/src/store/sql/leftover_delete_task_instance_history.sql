DELETE FROM task_instance_history
WHERE dag_run = $1 AND (task_id, map_index, try_number) IN (SELECT task_id, map_index, try_number FROM task_instance_history WHERE dag_run = $1 LIMIT $2)
RETURNING CAST(0 AS BIGINT)
