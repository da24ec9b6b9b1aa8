SELECT count(*) FROM (
    SELECT 1 FROM approval AS a CROSS JOIN dag_run AS r ON r.key = a.dag_run
    WHERE a.waiting = 1 AND $3 = 0 AND ($1 IS NULL OR r.dag_id = $1) AND ($2 IS NULL OR a.dag_run = $2)
    LIMIT $4
)
