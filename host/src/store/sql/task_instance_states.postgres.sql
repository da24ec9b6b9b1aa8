SELECT coalesce(json_agg(json_build_array(task_id, state, instances)), '[]')::text FROM (
    SELECT task_id, state, 0 AS instances FROM task_instance WHERE dag_run = $1 AND map_index < 0
    UNION ALL
    SELECT task_id, state, count(*) FROM task_instance WHERE dag_run = $1 AND map_index >= 0 GROUP BY task_id, state
) AS states
