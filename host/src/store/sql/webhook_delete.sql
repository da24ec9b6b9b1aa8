DELETE FROM webhook WHERE dag_id = $1
