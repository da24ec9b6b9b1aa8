SELECT DISTINCT task_id
FROM task_instance
WHERE dag_run = $1 AND task_id IN (SELECT value FROM jsonb_array_elements_text($2::jsonb)) AND state NOT IN ('success', 'skipped', 'removed')
