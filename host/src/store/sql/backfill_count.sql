SELECT count(*) FROM (SELECT 1 FROM backfill WHERE $1 IS NULL OR dag_id = $1 LIMIT $2)
