SELECT map_index FROM task_instance WHERE dag_run = $1 AND task_id = $2 AND state <> 'removed' ORDER BY map_index DESC LIMIT 1
