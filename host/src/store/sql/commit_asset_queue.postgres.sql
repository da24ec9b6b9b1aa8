-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO asset_queue (dag_id, asset, event)
SELECT d.dag_id, coalesce((SELECT id FROM asset WHERE name = j.value ->> 2), e.asset), e.key
FROM jsonb_array_elements($20::jsonb) AS j
JOIN asset_event AS e ON e.key = (j.value ->> 1)::bigint
JOIN dag AS d ON d.dag_id = j.value ->> 0;
