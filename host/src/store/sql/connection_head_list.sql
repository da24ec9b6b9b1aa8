SELECT c.id, c.conn_type, c.description, c.host, c.login, c.port,
    CASE WHEN c.sealed_password IS NULL THEN 0 ELSE 1 END AS has_password
FROM connection AS c
WHERE TRUE
