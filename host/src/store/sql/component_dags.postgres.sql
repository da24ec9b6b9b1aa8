SELECT DISTINCT component, dag_id
FROM dag_version
WHERE component IN (SELECT decode(value, 'hex') FROM jsonb_array_elements_text($1::jsonb))
ORDER BY component, dag_id
