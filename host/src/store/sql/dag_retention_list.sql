SELECT dag_id, runs_days, runs_count, logs_days, data_days FROM dag_retention ORDER BY dag_id
