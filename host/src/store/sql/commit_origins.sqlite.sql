-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO dag_run_origin (dag_run, parent_run, parent_task_id, parent_map_index, parent_try_number, depth)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
FROM jsonb_each($15)
WHERE TRUE
ON CONFLICT (dag_run) DO UPDATE
SET parent_run = excluded.parent_run, parent_task_id = excluded.parent_task_id, parent_map_index = excluded.parent_map_index,
    parent_try_number = excluded.parent_try_number, depth = excluded.depth;
