SELECT d.dag_id, coalesce(v.display_name, d.dag_id)
FROM dag AS d
JOIN dag_version AS v ON v.key = d.version
WHERE d.dag_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
