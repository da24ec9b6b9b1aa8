SELECT DISTINCT task_id
FROM task_instance
WHERE dag_run = $1 AND task_id IN (SELECT value FROM json_each($2)) AND state NOT IN ('success', 'skipped', 'removed')
