SELECT c.id, c.conn_type, c.description, c.host, c.schema, c.login, c.port, c.sealed_password, c.sealed_extra, c.updated_at
FROM connection AS c
WHERE TRUE
