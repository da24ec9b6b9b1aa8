SELECT end_date, dag_run AS key FROM dag_data_deleted WHERE dag_id = $1
