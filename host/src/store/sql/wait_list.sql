SELECT dag_run, task_id, map_index, condition FROM wait
WHERE (dag_run, task_id, map_index) > ($1, $2, $3)
ORDER BY dag_run, task_id, map_index
LIMIT $4
