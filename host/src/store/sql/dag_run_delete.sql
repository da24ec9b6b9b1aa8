DELETE FROM dag_run WHERE key = $1
