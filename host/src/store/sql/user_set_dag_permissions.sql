UPDATE airlock_user SET dag_permissions = $2, updated_at = $3 WHERE username = $1
