-- One row, as JSON: each of ten thousand rows would cross from SQLite's thread by itself.
SELECT json_group_array(json_array(task_id, state, instances)) FROM (
    SELECT task_id, state, 0 AS instances FROM task_instance WHERE dag_run = $1 AND map_index < 0
    UNION ALL
    SELECT task_id, state, count(*) FROM task_instance WHERE dag_run = $1 AND map_index >= 0 GROUP BY task_id, state
)
