SELECT key FROM dag_run WHERE dag_id = $1 LIMIT $2
