SELECT run_after FROM dag_run WHERE dag_id = $1 AND state IN ('queued', 'running') ORDER BY key LIMIT $2
