SELECT key, spec FROM dag_version WHERE key IN (SELECT value FROM json_each($1))
