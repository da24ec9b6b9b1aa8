DELETE FROM dag_run_origin WHERE dag_run = $1
