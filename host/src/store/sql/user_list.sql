SELECT username, password_hash, role, dag_permissions, issuer, subject, created_at, updated_at FROM airlock_user
ORDER BY username
LIMIT $1 OFFSET $2
