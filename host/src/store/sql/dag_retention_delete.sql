DELETE FROM dag_retention WHERE dag_id = $1
