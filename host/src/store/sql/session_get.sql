SELECT secret_hash, username, kind, created_at, expires_at FROM session WHERE secret_hash = $1
