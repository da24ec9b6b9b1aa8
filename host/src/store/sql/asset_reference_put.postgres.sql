INSERT INTO asset_reference (asset, dag_id, kind, task_id, created_at)
SELECT a.id, $1, j.value ->> 1, j.value ->> 2, $3
FROM jsonb_array_elements($2::jsonb) AS j
JOIN asset AS a ON a.name = j.value ->> 0
