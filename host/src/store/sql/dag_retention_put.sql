INSERT INTO dag_retention (dag_id, runs_days, runs_count, logs_days, data_days)
SELECT dag_id, $2, $3, $4, $5 FROM dag WHERE dag_id = $1
ON CONFLICT (dag_id) DO UPDATE SET
    runs_days = excluded.runs_days, runs_count = excluded.runs_count, logs_days = excluded.logs_days, data_days = excluded.data_days
