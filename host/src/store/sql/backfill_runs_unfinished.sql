SELECT b.dag_run
FROM backfill_run AS b
JOIN dag_run AS r ON r.key = b.dag_run
WHERE b.backfill = $1 AND r.state IN ('queued', 'running')
