SELECT s.secret_hash, s.username, s.kind, s.created_at, s.expires_at, u.role, u.dag_permissions
FROM session AS s JOIN airlock_user AS u ON u.username = s.username
WHERE s.secret_hash = $1
