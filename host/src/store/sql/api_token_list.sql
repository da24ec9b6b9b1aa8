SELECT id, username, name, role, created_at, created_by, expires_at, last_used_at FROM api_token
WHERE $1 IS NULL OR username = $1
ORDER BY username, name LIMIT $2 OFFSET $3
