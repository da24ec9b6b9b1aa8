SELECT CAST(1 AS BIGINT) FROM task_instance WHERE dag_run = $1 AND task_id = $2 AND map_index = $3 AND try_number = $4 AND coalesce(start_date, -1) = $5
