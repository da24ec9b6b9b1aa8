SELECT end_date, key
FROM dag_run
WHERE dag_id = $1 AND end_date IS NOT NULL AND (end_date, key) > ($2, $3) AND (end_date, key) <= ($4, $5)
ORDER BY end_date NULLS FIRST, key
LIMIT $6
