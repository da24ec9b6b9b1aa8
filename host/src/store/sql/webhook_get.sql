SELECT dag_id, sealed, created_at, created_by FROM webhook WHERE dag_id = $1
