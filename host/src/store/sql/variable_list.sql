SELECT key, sealed, description, updated_at FROM variable WHERE key LIKE $1 ESCAPE '\' ORDER BY key LIMIT $2 OFFSET $3
