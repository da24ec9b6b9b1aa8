UPDATE webhook SET sealed = $3 WHERE dag_id = $1 AND sealed = $2
