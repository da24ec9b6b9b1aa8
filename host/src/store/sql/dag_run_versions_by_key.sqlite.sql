SELECT key, version FROM dag_run WHERE key IN (SELECT value FROM json_each($1))
