SELECT key, dag_run, task_id, map_index, number, event, subject, target, message, created_at, state, attempts, due_at, error
FROM callback
WHERE state = 'pending'
ORDER BY due_at
LIMIT $1
