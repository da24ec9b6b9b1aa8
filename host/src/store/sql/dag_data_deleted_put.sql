INSERT INTO dag_data_deleted (dag_id, end_date, dag_run)
SELECT dag_id, $2, $3 FROM dag WHERE dag_id = $1
ON CONFLICT (dag_id) DO UPDATE SET end_date = excluded.end_date, dag_run = excluded.dag_run
