-- Part of a commit; parameters are those of store/commit.rs.
UPDATE dag
SET last_scheduled_start = (e.value ->> 1)::bigint, last_scheduled_end = (e.value ->> 2)::bigint
FROM jsonb_array_elements($5::jsonb) AS e
WHERE dag.dag_id = e.value ->> 0;
