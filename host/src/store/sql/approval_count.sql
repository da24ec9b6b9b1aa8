SELECT 1 FROM approval AS a CROSS JOIN dag_run AS r WHERE r.key = a.dag_run
