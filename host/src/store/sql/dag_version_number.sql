SELECT key, dag_id, version_number, component, created_at FROM dag_version WHERE dag_id = $1 AND version_number = $2
