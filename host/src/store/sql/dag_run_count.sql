SELECT r.key FROM dag_run AS r WHERE TRUE
