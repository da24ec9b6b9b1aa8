SELECT dag_run FROM dag_run_leftover ORDER BY dag_run LIMIT $1
