SELECT
    (SELECT run_after FROM dag_run WHERE dag_id = $1 ORDER BY run_after LIMIT 1),
    (SELECT run_after FROM dag_run WHERE dag_id = $1 ORDER BY run_after DESC LIMIT 1)
