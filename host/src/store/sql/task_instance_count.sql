SELECT t.dag_run FROM task_instance AS t CROSS JOIN dag_run AS r WHERE r.key = t.dag_run
