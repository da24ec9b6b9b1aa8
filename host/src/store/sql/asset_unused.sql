-- Assets in the order in which they came, and whether nothing needs them: no dag names them, and there is no event of them, nor
-- through them.
SELECT a.id,
    a.updated_at < $2
    AND NOT EXISTS (SELECT 1 FROM asset_reference WHERE asset = a.id)
    AND NOT EXISTS (SELECT 1 FROM asset_event WHERE asset = a.id)
    AND NOT EXISTS (SELECT 1 FROM asset_event WHERE alias = a.id)
    AND NOT EXISTS (SELECT 1 FROM asset_queue WHERE asset = a.id) AS is_unused
FROM asset AS a
WHERE a.id > $1
ORDER BY a.id
LIMIT $3
