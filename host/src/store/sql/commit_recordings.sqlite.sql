-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO recording (dag_run, task_id, map_index, try_number, size_bytes, created_at, blob)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM jsonb_each($28)
WHERE TRUE
ON CONFLICT (dag_run, task_id, map_index, try_number) DO UPDATE
SET size_bytes = excluded.size_bytes, created_at = excluded.created_at, blob = excluded.blob;
