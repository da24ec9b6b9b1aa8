SELECT d.version
FROM dag AS d
JOIN dag_version AS v ON v.key = d.version
WHERE v.display_name IS NULL
LIMIT $1
