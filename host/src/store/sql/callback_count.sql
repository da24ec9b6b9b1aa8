SELECT count(*) FROM (SELECT 1 FROM callback WHERE dag_run = $1 LIMIT $2) AS counted
