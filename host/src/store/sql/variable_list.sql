SELECT key, sealed, description, updated_at FROM variable WHERE lower(key) LIKE lower($1) ESCAPE '\' ORDER BY key LIMIT $2 OFFSET $3
