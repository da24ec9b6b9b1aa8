DELETE FROM lost_attempt
WHERE dag_run = $1 AND task_id = $2 AND map_index = $3 AND try_number = $4 AND restarts = $5
    AND NOT EXISTS (
        SELECT 1 FROM task_instance
        WHERE dag_run = $1 AND task_id = $2 AND map_index = $3 AND try_number = $4 AND restarts = $5
            AND state IN ('queued', 'running', 'restarting')
    )
