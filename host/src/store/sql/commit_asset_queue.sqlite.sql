-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO asset_queue (dag_id, asset, event)
SELECT j.value ->> 0, coalesce((SELECT id FROM asset WHERE name = j.value ->> 2), e.asset), e.key
FROM jsonb_each($20) AS j
CROSS JOIN asset_event AS e ON e.key = j.value ->> 1
WHERE EXISTS (SELECT 1 FROM dag WHERE dag_id = j.value ->> 0);
