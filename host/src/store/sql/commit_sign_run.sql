SELECT CAST(1 AS BIGINT) FROM dag_run WHERE key = $1 AND run_id = $2
