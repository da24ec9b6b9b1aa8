SELECT count(*) FROM (SELECT 1 FROM dag_version WHERE dag_id = $1 AND ($3 IS NULL OR component = $3) LIMIT $2) AS counted
