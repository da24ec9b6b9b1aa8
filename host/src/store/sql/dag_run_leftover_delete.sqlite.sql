DELETE FROM dag_run_leftover WHERE dag_run IN (SELECT value FROM json_each($1))
