SELECT d.dag_id, d.grants_policy, g.request, g.is_approved
FROM dag AS d
LEFT JOIN dag_grant AS g ON g.dag_id = d.dag_id
WHERE d.dag_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb)) AND (d.grants_policy IS NOT NULL OR g.request IS NOT NULL)
