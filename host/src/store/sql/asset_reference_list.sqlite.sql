SELECT asset, dag_id, kind, task_id, created_at FROM asset_reference
WHERE asset IN (SELECT value FROM json_each($1))
ORDER BY asset, kind, dag_id, task_id
LIMIT 10000
