SELECT username, password_hash, role, dag_permissions, issuer, subject, created_at, updated_at FROM airlock_user WHERE issuer = $1 AND subject = $2
