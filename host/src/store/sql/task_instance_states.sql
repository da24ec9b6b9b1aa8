SELECT task_id, map_index, state FROM task_instance WHERE dag_run = $1 ORDER BY task_id, map_index
