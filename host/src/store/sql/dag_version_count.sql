SELECT count(*) FROM (SELECT 1 FROM dag_version WHERE dag_id = $1 LIMIT $2) AS counted
