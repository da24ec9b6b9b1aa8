SELECT
    EXISTS (SELECT 1 FROM dag_run WHERE dag_id = $1 AND run_id = $2)
    OR EXISTS (SELECT 1 FROM dag_run WHERE dag_id = $1 AND logical_date = $3)
