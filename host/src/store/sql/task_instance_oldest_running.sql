SELECT min(start_date) FROM task_instance
WHERE state IN ('scheduled', 'queued', 'running', 'restarting', 'up_for_retry', 'up_for_reschedule') AND state IN ('running', 'restarting')
