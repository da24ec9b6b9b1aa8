SELECT key, dag_run, task_id, map_index, number, event, subject, target, message, created_at, state, attempts, due_at, error
FROM callback
WHERE dag_run = $1
ORDER BY key
LIMIT $2 OFFSET $3
