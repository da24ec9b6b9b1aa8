INSERT INTO connection (id, conn_type, description, host, schema, login, port, sealed_password, sealed_extra, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (id) DO NOTHING
