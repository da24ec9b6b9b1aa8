DELETE FROM dag_run WHERE key IN (SELECT value FROM json_each($1)) AND key IN (SELECT dag_run FROM dag_run_leftover)
