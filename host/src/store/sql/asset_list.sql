SELECT a.id, a.name, a.uri, a.asset_group, a.extra, a.is_alias, a.created_at, a.updated_at, e.key AS last_event, e.timestamp AS last_event_at
FROM asset AS a
LEFT JOIN asset_event AS e ON e.key = (SELECT max(key) FROM asset_event WHERE asset = a.id)
WHERE TRUE
