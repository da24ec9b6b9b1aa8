SELECT 1 FROM dag_run_origin AS o CROSS JOIN dag_run AS r ON r.key = o.dag_run WHERE TRUE
