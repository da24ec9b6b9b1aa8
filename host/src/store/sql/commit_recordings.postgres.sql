-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO recording (dag_run, task_id, map_index, try_number, size_bytes, created_at, blob)
SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint, (value ->> 3)::bigint, (value ->> 4)::bigint,
    (value ->> 5)::bigint, value ->> 6
FROM jsonb_array_elements($28::jsonb)
ON CONFLICT (dag_run, task_id, map_index, try_number) DO UPDATE
SET size_bytes = excluded.size_bytes, created_at = excluded.created_at, blob = excluded.blob;
