SELECT v.key, v.version_number, v.component, v.content_hash
FROM dag AS d
JOIN dag_version AS v ON v.key = d.version
WHERE d.dag_id = $1
