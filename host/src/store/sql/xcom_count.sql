SELECT x.dag_run FROM xcom AS x CROSS JOIN dag_run AS r WHERE r.key = x.dag_run
