-- Part of a commit; parameters are those of store/commit.rs.
DELETE FROM wait WHERE (dag_run, task_id, map_index)
    IN (SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint FROM jsonb_array_elements($16::jsonb));
UPDATE approval SET waiting = 0
WHERE waiting = 1 AND (dag_run, task_id, map_index)
    IN (SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint FROM jsonb_array_elements($16::jsonb));
