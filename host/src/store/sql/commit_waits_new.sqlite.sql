-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO wait (dag_run, task_id, map_index, condition)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3
FROM jsonb_each($17)
WHERE TRUE
ON CONFLICT (dag_run, task_id, map_index) DO UPDATE SET condition = excluded.condition;
