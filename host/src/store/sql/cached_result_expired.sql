SELECT EXISTS (SELECT 1 FROM cached_result WHERE expires_at <= $1)
