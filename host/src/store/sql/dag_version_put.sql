INSERT INTO dag_version (dag_id, version_number, component, content_hash, created_at, spec, display_name)
SELECT $1, coalesce((SELECT max(version_number) FROM dag_version WHERE dag_id = $1), 0) + 1, $2, $3, $4, $5, $6
RETURNING key, version_number
