SELECT id, conn_type, description, host, schema, login, port, sealed_password, sealed_extra, updated_at
FROM connection
WHERE lower(id) LIKE lower($1) ESCAPE '\'
ORDER BY id
LIMIT $2 OFFSET $3
