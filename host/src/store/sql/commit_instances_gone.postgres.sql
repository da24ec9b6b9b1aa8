-- Part of a commit; parameters are those of store/commit.rs.
DELETE FROM task_instance WHERE (dag_run, task_id, map_index)
    IN (SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint FROM jsonb_array_elements($14::jsonb));
