SELECT kind, name, sealed
FROM (
    SELECT 'extra' AS kind, id AS name, sealed_extra AS sealed FROM connection WHERE sealed_extra IS NOT NULL
    UNION ALL SELECT 'password', id, sealed_password FROM connection WHERE sealed_password IS NOT NULL
    UNION ALL SELECT 'variable', key, sealed FROM variable
    UNION ALL SELECT 'webhook', dag_id, sealed FROM webhook
) AS kept
WHERE substr(sealed, 1, 9) <> $1 AND (kind, name) > ($2, $3)
ORDER BY kind, name
LIMIT $4
