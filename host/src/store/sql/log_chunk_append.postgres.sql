INSERT INTO log_chunk (dag_run, task_id, map_index, try_number, seq, offset_bytes, length_bytes, lines, created_at, blob)
SELECT r.key, value ->> 1, (value ->> 2)::bigint, (value ->> 3)::bigint, (value ->> 4)::bigint, (value ->> 5)::bigint,
    (value ->> 6)::bigint, (value ->> 7)::bigint, (value ->> 8)::bigint, value ->> 9
FROM jsonb_array_elements($1::jsonb)
JOIN dag_run AS r ON r.key = (value ->> 0)::bigint
