DELETE FROM dag_run_leftover WHERE dag_run = $1
