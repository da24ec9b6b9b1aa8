DELETE FROM cached_result WHERE dag_run = $1 AND task_id = $2 AND map_index = $3
