-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO artifact (dag_run, task_id, map_index, name, try_number, media_type, size_bytes, sha256, created_at, blob)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, unhex(value ->> 7), value ->> 8,
    value ->> 9
FROM jsonb_each($13)
WHERE TRUE
ON CONFLICT (dag_run, task_id, map_index, name) DO UPDATE
SET try_number = excluded.try_number, media_type = excluded.media_type, size_bytes = excluded.size_bytes,
    sha256 = excluded.sha256, created_at = excluded.created_at, blob = excluded.blob;
