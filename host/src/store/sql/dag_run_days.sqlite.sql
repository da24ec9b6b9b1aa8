SELECT
    (SELECT count(*) FROM (
        SELECT 1 FROM dag_run WHERE dag_id = $1 AND run_after >= day.value ->> 0 AND run_after < day.value ->> 1 LIMIT $3)),
    (SELECT count(*) FROM (
        SELECT 1 FROM dag_run INDEXED BY dag_run_failed_by_run_after
        WHERE dag_id = $1 AND state = 'failed' AND run_after >= day.value ->> 0 AND run_after < day.value ->> 1 LIMIT $3))
FROM json_each($2) AS day
ORDER BY day.key
