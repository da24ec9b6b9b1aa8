DELETE FROM asset AS a
WHERE a.id = $1
    AND NOT EXISTS (SELECT 1 FROM asset_reference WHERE asset = a.id)
    AND NOT EXISTS (SELECT 1 FROM asset_event WHERE asset = a.id)
    AND NOT EXISTS (SELECT 1 FROM asset_event WHERE alias = a.id)
    AND NOT EXISTS (SELECT 1 FROM asset_queue WHERE asset = a.id)
