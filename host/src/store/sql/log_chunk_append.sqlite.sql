INSERT INTO log_chunk (dag_run, task_id, map_index, try_number, seq, offset_bytes, length_bytes, lines, created_at, blob)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8,
    value ->> 9
FROM jsonb_each($1)
WHERE EXISTS (SELECT 1 FROM dag_run WHERE key = value ->> 0)
