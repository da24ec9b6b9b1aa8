SELECT r.state, count(*)
FROM backfill_run AS b
JOIN dag_run AS r ON r.key = b.dag_run
WHERE b.backfill = $1
GROUP BY r.state
