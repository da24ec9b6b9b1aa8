-- Part of a commit; parameters are those of store/commit.rs.
UPDATE dag
SET last_scheduled_start = j.last_scheduled_start, last_scheduled_end = j.last_scheduled_end
FROM (
    SELECT value ->> 0 AS dag_id, value ->> 1 AS last_scheduled_start, value ->> 2 AS last_scheduled_end FROM jsonb_each($5)
) AS j
WHERE dag.dag_id = j.dag_id;
