-- Part of a commit; parameters are those of store/commit.rs.
UPDATE dag_run SET version = j.version
FROM (SELECT value ->> 0 AS key, value ->> 1 AS version FROM jsonb_each($27)) AS j
WHERE dag_run.key = j.key;
UPDATE task_instance
SET pool_slots = j.pool_slots, priority_weight = j.priority_weight, pool = j.pool, entry = j.entry
FROM (
    SELECT run.value ->> 0 AS dag_run, instance.value ->> 0 AS task_id, instance.value ->> 1 AS map_index,
        instance.value ->> 2 AS pool_slots, instance.value ->> 3 AS priority_weight, instance.value ->> 4 AS pool,
        instance.value ->> 5 AS entry
    FROM jsonb_each($27) AS run, json_each(run.value -> 2) AS instance
) AS j
WHERE task_instance.dag_run = j.dag_run AND task_instance.task_id = j.task_id AND task_instance.map_index = j.map_index;
