SELECT t.dag_run, t.task_id, t.map_index FROM task_instance AS t WHERE TRUE
