SELECT username, password_hash, role, dag_permissions, created_at, updated_at FROM airlock_user WHERE username = $1
