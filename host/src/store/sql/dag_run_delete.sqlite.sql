INSERT INTO dag_run_leftover (dag_run)
SELECT key FROM dag_run
WHERE key IN (SELECT value FROM json_each($1)) AND ($2 = 0 OR state IN ('success', 'failed'))
