SELECT count(*) FROM (SELECT 1 FROM dag_run_origin WHERE parent_run = $1 LIMIT $2)
