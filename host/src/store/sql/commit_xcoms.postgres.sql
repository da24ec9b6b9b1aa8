-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO xcom (dag_run, task_id, map_index, key, media_type, size_bytes, created_at, blob, body)
SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint, value ->> 3, value ->> 4, (value ->> 5)::bigint, $1,
    value ->> 6, CASE WHEN value ->> 6 IS NULL THEN substr($12, (value ->> 7)::int, (value ->> 5)::int) END
FROM jsonb_array_elements($11::jsonb)
ON CONFLICT (dag_run, task_id, map_index, key) DO UPDATE
SET media_type = excluded.media_type, size_bytes = excluded.size_bytes, created_at = excluded.created_at, blob = excluded.blob,
    body = excluded.body;
