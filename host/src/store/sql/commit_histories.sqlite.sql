-- Part of a commit; parameters are those of store/commit.rs.
INSERT OR REPLACE INTO task_instance_history (dag_run, task_id, map_index, try_number, state, max_tries, restarts, scheduled_at,
    queued_at, start_date, end_date, wake_at, list_length, pool_slots, priority_weight, pool, entry, followed, message, note,
    rendered_map_index, hostname)
SELECT t.dag_run, t.task_id, t.map_index, t.try_number, coalesce(j.value ->> 3, t.state), t.max_tries, t.restarts, t.scheduled_at,
    t.queued_at, t.start_date, CASE WHEN j.value ->> 3 IS NULL THEN t.end_date ELSE j.value ->> 4 END,
    CASE WHEN j.value ->> 3 IS NULL THEN t.wake_at ELSE j.value ->> 5 END,
    CASE WHEN j.value ->> 3 IS NULL THEN t.list_length ELSE j.value ->> 6 END,
    t.pool_slots, t.priority_weight, t.pool, t.entry,
    CASE WHEN j.value ->> 3 IS NULL THEN t.followed ELSE j.value ->> 7 END,
    CASE WHEN j.value ->> 3 IS NULL THEN t.message ELSE j.value ->> 8 END,
    t.note, t.rendered_map_index, coalesce(j.value ->> 9, t.hostname)
FROM jsonb_each($7) AS j
CROSS JOIN task_instance AS t
    ON t.dag_run = j.value ->> 0 AND t.task_id = j.value ->> 1 AND t.map_index = j.value ->> 2
WHERE t.try_number > 0;
