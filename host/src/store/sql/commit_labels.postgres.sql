-- Part of a commit; parameters are those of store/commit.rs.
UPDATE task_instance
SET rendered_map_index = e.value ->> 3
FROM jsonb_array_elements($32::jsonb) AS e
WHERE task_instance.dag_run = (e.value ->> 0)::bigint AND task_instance.task_id = e.value ->> 1
    AND task_instance.map_index = (e.value ->> 2)::bigint;
