SELECT state, count(*) FROM (SELECT state FROM dag_run WHERE dag_id = $1 ORDER BY run_after DESC LIMIT $2) AS counted GROUP BY state
