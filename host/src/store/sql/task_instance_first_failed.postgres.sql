SELECT t.dag_run, t.task_id, t.map_index, t.state, t.try_number, t.max_tries, t.restarts, t.scheduled_at, t.queued_at,
    t.start_date, t.end_date, t.wake_at, t.list_length, t.pool_slots, t.priority_weight, t.pool, t.entry, t.followed, t.message,
    t.note, t.rendered_map_index, t.hostname, r.dag_id, r.run_id, r.logical_date, r.run_after
FROM jsonb_array_elements_text($1::jsonb) AS d
JOIN dag_run AS r ON r.key = d.value::bigint
CROSS JOIN LATERAL (
    SELECT * FROM task_instance AS f
    WHERE f.dag_run = r.key AND f.state = 'failed'
    ORDER BY f.end_date, f.task_id, f.map_index LIMIT 1
) AS t
