SELECT t.dag_run FROM dag_run AS r CROSS JOIN task_instance AS t WHERE t.dag_run = r.key
