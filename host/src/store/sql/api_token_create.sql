INSERT INTO api_token (secret_hash, username, name, role, created_at, created_by, expires_at)
SELECT $1, $2, $3, $4, $5, $6, $7
WHERE (SELECT count(*) FROM api_token WHERE username = $2) < $8
