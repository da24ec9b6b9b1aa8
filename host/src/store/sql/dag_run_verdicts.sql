SELECT key, verdict FROM dag_run WHERE state IN ('queued', 'running') AND verdict IS NOT NULL
