SELECT 1 FROM dag WHERE dag_id = $1
