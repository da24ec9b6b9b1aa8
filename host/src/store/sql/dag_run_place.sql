SELECT end_date, key
FROM dag_run
WHERE dag_id = $1 AND end_date IS NOT NULL
ORDER BY end_date DESC NULLS LAST, key DESC
LIMIT 1 OFFSET $2
