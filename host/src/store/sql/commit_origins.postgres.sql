-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO dag_run_origin (dag_run, parent_run, parent_task_id, parent_map_index, parent_try_number, depth)
SELECT (value ->> 0)::bigint, (value ->> 1)::bigint, value ->> 2, (value ->> 3)::bigint, (value ->> 4)::bigint,
    (value ->> 5)::bigint
FROM jsonb_array_elements($15::jsonb)
ON CONFLICT (dag_run) DO UPDATE
SET parent_run = excluded.parent_run, parent_task_id = excluded.parent_task_id, parent_map_index = excluded.parent_map_index,
    parent_try_number = excluded.parent_try_number, depth = excluded.depth;
