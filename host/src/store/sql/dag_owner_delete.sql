DELETE FROM dag_owner WHERE dag_id = $1
