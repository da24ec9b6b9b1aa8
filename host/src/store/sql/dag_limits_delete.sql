DELETE FROM dag_limits WHERE dag_id = $1
