SELECT key, dag_id, version_number, component, created_at
FROM dag_version
WHERE dag_id = $1 AND ($4 IS NULL OR component = $4)
ORDER BY version_number DESC
LIMIT $2 OFFSET $3
