INSERT INTO lost_attempt (dag_run, task_id, map_index, try_number, restarts, lost_at)
SELECT dag_run, task_id, map_index, try_number, restarts, $1 FROM task_instance
WHERE state IN ('scheduled', 'queued', 'running', 'restarting', 'up_for_retry', 'up_for_reschedule') AND state IN ('queued', 'running', 'restarting')
ON CONFLICT DO NOTHING
