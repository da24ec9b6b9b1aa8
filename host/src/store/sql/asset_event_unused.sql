-- Events in the order in which they came, and whether nothing needs them: they are neither the newest of an asset that a dag names nor
-- waiting for a run nor what a run was made for. The last of all stays, because the next key follows from it.
SELECT e.key,
    (EXISTS (SELECT 1 FROM asset_event AS later WHERE later.asset = e.asset AND later.key > e.key)
        OR NOT EXISTS (SELECT 1 FROM asset_reference WHERE asset = e.asset)
        AND e.key < (SELECT max(key) FROM asset_event))
    AND NOT EXISTS (SELECT 1 FROM asset_queue WHERE event = e.key)
    AND NOT EXISTS (SELECT 1 FROM dag_run_asset_event WHERE event = e.key) AS is_unused
FROM asset_event AS e
WHERE e.key > $1 AND e.timestamp < $2
ORDER BY e.key
LIMIT $3
