DELETE FROM dag_version WHERE key = $1 AND NOT EXISTS (SELECT 1 FROM dag_run WHERE version = $1)
