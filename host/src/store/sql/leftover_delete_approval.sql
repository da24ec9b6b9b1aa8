DELETE FROM approval
WHERE dag_run = $1 AND (task_id, map_index) IN (SELECT task_id, map_index FROM approval WHERE dag_run = $1 LIMIT $2)
RETURNING CAST(0 AS BIGINT)
