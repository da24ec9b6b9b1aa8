-- Part of a commit; parameters are those of store/commit.rs.
UPDATE task_instance
SET rendered_map_index = j.value ->> 3
FROM jsonb_each($32) AS j
WHERE task_instance.dag_run = j.value ->> 0 AND task_instance.task_id = j.value ->> 1
    AND task_instance.map_index = j.value ->> 2;
