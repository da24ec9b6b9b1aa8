SELECT d.dag_id
FROM dag_version_uses AS u
JOIN dag AS d ON d.version = u.version
WHERE u.component = $1
ORDER BY d.dag_id
LIMIT $2
