SELECT a.dag_run, r.dag_id, r.run_id, a.task_id, a.map_index, a.try_number, a.question, a.created_at, a.waiting, a.answer
FROM approval AS a CROSS JOIN dag_run AS r ON r.key = a.dag_run
WHERE ($1 IS NULL OR r.dag_id = $1) AND ($2 IS NULL OR a.dag_run = $2)
    AND ($3 = 0 OR a.answer IS NOT NULL)
ORDER BY a.dag_run DESC, a.task_id DESC, a.map_index DESC, a.try_number DESC, a.subject DESC
LIMIT $4 OFFSET $5
