SELECT t.dag_run, t.task_id, t.map_index, t.state, t.try_number, t.max_tries, t.restarts, t.scheduled_at, t.queued_at,
    t.start_date, t.end_date, t.wake_at, t.list_length, t.pool_slots, t.priority_weight, t.pool, t.entry, t.followed, t.message,
    t.note, t.rendered_map_index, t.hostname, r.dag_id, r.run_id, r.logical_date, r.run_after
FROM json_each($1) AS d
CROSS JOIN dag_run AS r
CROSS JOIN task_instance AS t
WHERE r.key = d.value AND t.dag_run = r.key AND (t.task_id, t.map_index) = (
    SELECT f.task_id, f.map_index
    FROM task_instance AS i INDEXED BY task_instance_unsuccessful
    CROSS JOIN task_instance AS f
    WHERE i.dag_run = d.value AND i.state = 'failed' AND i.state IN ('failed', 'skipped', 'upstream_failed', 'removed')
        AND f.dag_run = i.dag_run AND f.task_id = i.task_id AND f.map_index = i.map_index
    ORDER BY f.end_date, f.task_id, f.map_index LIMIT 1
)
