SELECT pool, state, CAST(sum(pool_slots) AS BIGINT) AS slots
FROM task_instance
WHERE state IN ('scheduled', 'queued', 'running', 'restarting', 'up_for_retry', 'up_for_reschedule')
GROUP BY pool, state
