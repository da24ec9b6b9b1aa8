-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO task_instance_history (dag_run, task_id, map_index, try_number, state, max_tries, restarts, scheduled_at, queued_at, start_date, end_date,
    wake_at, list_length, pool_slots, priority_weight, pool, entry, followed, message, note, rendered_map_index, hostname)
SELECT t.dag_run, t.task_id, t.map_index, t.try_number, coalesce(e.value ->> 3, t.state), t.max_tries, t.restarts, t.scheduled_at,
    t.queued_at, t.start_date, CASE WHEN e.value ->> 3 IS NULL THEN t.end_date ELSE (e.value ->> 4)::bigint END,
    CASE WHEN e.value ->> 3 IS NULL THEN t.wake_at ELSE (e.value ->> 5)::bigint END,
    CASE WHEN e.value ->> 3 IS NULL THEN t.list_length ELSE (e.value ->> 6)::bigint END,
    t.pool_slots, t.priority_weight, t.pool, t.entry,
    CASE WHEN e.value ->> 3 IS NULL THEN t.followed ELSE e.value ->> 7 END,
    CASE WHEN e.value ->> 3 IS NULL THEN t.message ELSE e.value ->> 8 END,
    t.note, t.rendered_map_index, coalesce(e.value ->> 9, t.hostname)
FROM jsonb_array_elements($7::jsonb) AS e
JOIN task_instance AS t
    ON t.dag_run = (e.value ->> 0)::bigint AND t.task_id = e.value ->> 1 AND t.map_index = (e.value ->> 2)::bigint
WHERE t.try_number > 0
ON CONFLICT (dag_run, task_id, map_index, try_number) DO UPDATE
SET state = excluded.state, max_tries = excluded.max_tries, restarts = excluded.restarts,
    scheduled_at = excluded.scheduled_at, queued_at = excluded.queued_at, start_date = excluded.start_date,
    end_date = excluded.end_date, wake_at = excluded.wake_at, list_length = excluded.list_length,
    pool_slots = excluded.pool_slots, priority_weight = excluded.priority_weight, pool = excluded.pool,
    entry = excluded.entry, followed = excluded.followed, message = excluded.message, note = excluded.note,
    rendered_map_index = excluded.rendered_map_index, hostname = excluded.hostname;
