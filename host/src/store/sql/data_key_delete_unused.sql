DELETE FROM data_key
WHERE retired_at < $1
    AND NOT EXISTS (SELECT 1 FROM variable WHERE substr(sealed, 2, 8) = data_key.id)
    AND NOT EXISTS (SELECT 1 FROM connection WHERE substr(sealed_password, 2, 8) = data_key.id)
    AND NOT EXISTS (SELECT 1 FROM connection WHERE substr(sealed_extra, 2, 8) = data_key.id)
    AND NOT EXISTS (SELECT 1 FROM webhook WHERE substr(sealed, 2, 8) = data_key.id)
