SELECT task_id, state, count(*) FROM task_instance
WHERE dag_run = $1 AND task_id IN (SELECT value FROM jsonb_array_elements_text($2::jsonb)) GROUP BY task_id, state
