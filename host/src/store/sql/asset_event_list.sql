SELECT e.key, e.asset, a.name, a.uri, a.asset_group, e.timestamp, e.extra, e.source_dag_id, e.source_run_id, e.source_task_id,
    e.source_map_index, e.created_by
FROM asset_event AS e
JOIN asset AS a ON a.id = e.asset
WHERE TRUE
