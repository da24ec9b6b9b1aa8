SELECT coalesce(octet_length(c.sealed_password), 0) + coalesce(octet_length(c.sealed_extra), 0) AS bytes
FROM connection AS c
WHERE TRUE
