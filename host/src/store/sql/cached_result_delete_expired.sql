DELETE FROM cached_result
WHERE key IN (SELECT key FROM cached_result WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)
