INSERT INTO session (secret_hash, username, kind, created_at, expires_at)
SELECT $1, u.username, $3, $4, $5
FROM airlock_user AS u
WHERE u.username = $2 AND u.password_hash = coalesce($6, u.password_hash)
