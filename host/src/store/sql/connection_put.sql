INSERT INTO connection (id, conn_type, description, host, schema, login, port, sealed_password, sealed_extra, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (id) DO UPDATE
SET conn_type = excluded.conn_type, description = excluded.description, host = excluded.host, schema = excluded.schema,
    login = excluded.login, port = excluded.port, sealed_password = excluded.sealed_password,
    sealed_extra = excluded.sealed_extra, updated_at = excluded.updated_at
