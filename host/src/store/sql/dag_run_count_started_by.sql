SELECT 1 FROM dag_run_origin AS o CROSS JOIN dag_run AS r WHERE r.key = o.dag_run
