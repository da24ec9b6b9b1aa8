SELECT key, dag_id, version_number, component, created_at FROM dag_version WHERE key = $1
