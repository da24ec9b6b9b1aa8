SELECT asset, dag_id, kind, task_id, created_at FROM asset_reference
WHERE asset IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb))
ORDER BY asset, kind, dag_id, task_id
LIMIT 10000
