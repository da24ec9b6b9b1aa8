SELECT e.key, e.asset, a.name, a.uri, a.asset_group, e.timestamp, e.extra, e.source_dag_id, e.source_run_id, e.source_task_id,
    e.source_map_index, e.created_by
FROM dag_run_asset_event AS r
CROSS JOIN asset_event AS e
JOIN asset AS a ON a.id = e.asset
WHERE e.key = r.event AND r.dag_run = $1
ORDER BY e.key
LIMIT $2
