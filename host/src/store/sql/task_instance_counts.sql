SELECT state, count(*) FROM task_instance WHERE dag_run = $1 GROUP BY state
