SELECT task_id, state, count(*) FROM task_instance
WHERE dag_run = $1 AND task_id IN (SELECT value FROM json_each($2)) GROUP BY task_id, state
