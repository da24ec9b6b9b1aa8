INSERT INTO airlock_user (username, password_hash, role, dag_permissions, issuer, subject, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING
