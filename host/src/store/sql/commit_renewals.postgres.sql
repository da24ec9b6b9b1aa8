-- Part of a commit; parameters are those of store/commit.rs.
UPDATE dag_run SET version = (e.value ->> 1)::bigint
FROM jsonb_array_elements($27::jsonb) AS e
WHERE dag_run.key = (e.value ->> 0)::bigint;
UPDATE task_instance
SET pool_slots = (i.value ->> 2)::bigint, priority_weight = (i.value ->> 3)::bigint, pool = i.value ->> 4, entry = i.value ->> 5
FROM jsonb_array_elements($27::jsonb) AS run, jsonb_array_elements(run.value -> 2) AS i
WHERE task_instance.dag_run = (run.value ->> 0)::bigint AND task_instance.task_id = i.value ->> 0
    AND task_instance.map_index = (i.value ->> 1)::bigint;
