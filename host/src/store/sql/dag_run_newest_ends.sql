SELECT key, run_after, state
FROM dag_run
WHERE dag_id = $1 AND state IN ('success', 'failed')
ORDER BY run_after DESC, key DESC
LIMIT $2
