INSERT INTO data_key (id, wrapped, created_at) VALUES ($1, $2, $3)
