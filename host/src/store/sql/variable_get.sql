SELECT key, sealed, description, updated_at FROM variable WHERE key = $1
