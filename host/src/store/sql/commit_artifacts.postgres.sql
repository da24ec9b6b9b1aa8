-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO artifact (dag_run, task_id, map_index, name, try_number, media_type, size_bytes, sha256, created_at, blob)
SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint, value ->> 3, (value ->> 4)::bigint, value ->> 5,
    (value ->> 6)::bigint, decode(value ->> 7, 'hex'), (value ->> 8)::bigint, value ->> 9
FROM jsonb_array_elements($13::jsonb)
ON CONFLICT (dag_run, task_id, map_index, name) DO UPDATE
SET try_number = excluded.try_number, media_type = excluded.media_type, size_bytes = excluded.size_bytes,
    sha256 = excluded.sha256, created_at = excluded.created_at, blob = excluded.blob;
