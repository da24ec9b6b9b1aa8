SELECT a.dag_run, r.dag_id, r.run_id, a.task_id, a.map_index, a.try_number, a.question, a.created_at, a.waiting, a.answer
FROM approval AS a CROSS JOIN dag_run AS r
WHERE r.key = a.dag_run AND a.dag_run = $1 AND a.task_id = $2 AND a.map_index = $3 AND CAST(a.answer AS json) ->> 'delivery' = $4
LIMIT 1
