SELECT t.dag_run FROM task_instance AS t JOIN dag_run AS r ON r.key = t.dag_run WHERE TRUE
