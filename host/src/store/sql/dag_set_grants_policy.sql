UPDATE dag SET grants_policy = $2 WHERE dag_id = $1
