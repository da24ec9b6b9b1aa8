SELECT DISTINCT component, dag_id
FROM dag_version
WHERE component IN (SELECT unhex(value) FROM json_each($1))
ORDER BY component, dag_id
