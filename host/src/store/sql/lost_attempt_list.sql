SELECT dag_run, task_id, map_index, try_number, restarts FROM lost_attempt WHERE lost_at <= $1 LIMIT $2
