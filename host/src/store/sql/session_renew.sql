UPDATE session SET expires_at = $2 WHERE secret_hash = $1
