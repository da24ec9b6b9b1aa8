SELECT a.dag_run, r.dag_id, r.run_id, a.task_id, a.map_index, a.try_number, a.question, a.created_at, a.waiting, a.answer
FROM approval AS a CROSS JOIN dag_run AS r ON r.key = a.dag_run
WHERE a.waiting = 1 AND $3 = 0 AND ($1 IS NULL OR r.dag_id = $1) AND ($2 IS NULL OR a.dag_run = $2)
ORDER BY a.created_at, a.dag_run, a.task_id, a.map_index
LIMIT $4 OFFSET $5
