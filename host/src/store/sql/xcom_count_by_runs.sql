SELECT x.dag_run FROM dag_run AS r CROSS JOIN xcom AS x WHERE x.dag_run = r.key
