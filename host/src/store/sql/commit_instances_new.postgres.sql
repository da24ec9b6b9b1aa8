-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO task_instance (dag_run, task_id, map_index, state, try_number, max_tries, restarts, pool_slots, priority_weight,
    pool, entry)
SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint, value ->> 3, 0, (value ->> 4)::bigint, 0,
    (value ->> 5)::bigint, (value ->> 6)::bigint, value ->> 7, value ->> 8
FROM jsonb_array_elements($6::jsonb);
