-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO wait (dag_run, task_id, map_index, condition)
SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint, value ->> 3
FROM jsonb_array_elements($17::jsonb)
ON CONFLICT (dag_run, task_id, map_index) DO UPDATE SET condition = excluded.condition;
