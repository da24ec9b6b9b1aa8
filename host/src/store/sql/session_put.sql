INSERT INTO session (secret_hash, username, kind, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (secret_hash) DO UPDATE
SET expires_at = excluded.expires_at
