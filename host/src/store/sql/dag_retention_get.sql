SELECT runs_days, runs_count, logs_days, data_days FROM dag_retention WHERE dag_id = $1
