SELECT id, username, name, role, created_at, created_by, expires_at, last_used_at FROM api_token WHERE id = $1
