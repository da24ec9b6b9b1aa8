SELECT x.dag_run FROM xcom AS x JOIN dag_run AS r ON r.key = x.dag_run WHERE TRUE
