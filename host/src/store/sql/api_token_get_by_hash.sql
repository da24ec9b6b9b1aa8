SELECT t.id, t.username, t.name, t.role, t.created_at, t.created_by, t.expires_at, t.last_used_at, u.role AS user_role,
    u.dag_permissions
FROM api_token AS t JOIN airlock_user AS u ON u.username = t.username
WHERE t.secret_hash = $1
