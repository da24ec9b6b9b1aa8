SELECT dag_run, parent_run, parent_task_id, parent_map_index, parent_try_number, depth FROM dag_run_origin WHERE dag_run = $1
