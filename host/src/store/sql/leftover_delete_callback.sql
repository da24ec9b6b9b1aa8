DELETE FROM callback
WHERE key IN (SELECT key FROM callback WHERE dag_run = $1 LIMIT $2)
