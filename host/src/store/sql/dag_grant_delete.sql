DELETE FROM dag_grant WHERE dag_id = $1 AND request = $2
