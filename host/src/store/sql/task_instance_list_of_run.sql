SELECT t.dag_run, t.task_id, t.map_index, t.state, t.try_number, t.max_tries, t.restarts, t.scheduled_at, t.queued_at,
    t.start_date, t.end_date, t.wake_at, t.list_length, t.pool_slots, t.priority_weight, t.pool, t.entry, t.followed, t.message,
    t.note, t.rendered_map_index, t.hostname, r.dag_id, r.run_id, r.logical_date, r.run_after
FROM task_instance AS t
JOIN dag_run AS r ON r.key = t.dag_run
WHERE t.dag_run = $1
ORDER BY t.task_id, t.map_index
