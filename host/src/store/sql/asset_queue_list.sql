SELECT q.dag_id, q.asset, a.name, e.key, e.timestamp
FROM asset_queue AS q
JOIN asset AS a ON a.id = q.asset
JOIN asset_event AS e ON e.key = q.event
WHERE ($1 IS NULL OR q.dag_id = $1) AND ($2 IS NULL OR q.asset = $2)
    AND ($3 IS NULL OR e.timestamp < $3)
ORDER BY q.dag_id, q.asset, q.event
LIMIT 10000
