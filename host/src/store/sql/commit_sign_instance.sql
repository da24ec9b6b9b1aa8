SELECT CAST(1 AS BIGINT) FROM task_instance WHERE dag_run = $1 AND task_id = $2 AND map_index = $3
