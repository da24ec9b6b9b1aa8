SELECT c.key, c.dag_run, c.task_id, c.map_index, c.try_number, c.dag_id, c.run_id, c.made_at, c.expires_at, c.asset_extras
FROM cached_result AS c
JOIN dag_run AS r ON r.key = c.dag_run
JOIN task_instance AS t ON t.dag_run = c.dag_run AND t.task_id = c.task_id AND t.map_index = c.map_index
WHERE c.key = $1 AND c.made_at > $2 AND t.state = 'success' AND t.try_number = c.try_number
