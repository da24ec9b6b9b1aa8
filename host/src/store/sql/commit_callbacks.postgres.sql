-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO callback (dag_run, task_id, map_index, number, event, subject, target, message, created_at, state, attempts, due_at)
SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint, (value ->> 3)::bigint, value ->> 4, value ->> 5,
    value ->> 6, value ->> 7, $1, 'pending', 0, $1
FROM jsonb_array_elements($22::jsonb)
ON CONFLICT DO NOTHING;
