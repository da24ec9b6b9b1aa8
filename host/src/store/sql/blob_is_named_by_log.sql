SELECT EXISTS (SELECT 1 FROM log_chunk WHERE dag_run = $1 AND task_id = $2 AND map_index = $3 AND blob = $4)
