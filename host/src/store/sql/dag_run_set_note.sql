UPDATE dag_run SET note = $2 WHERE key = $1
