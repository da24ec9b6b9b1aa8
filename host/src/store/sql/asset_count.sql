SELECT count(*) FROM (
    SELECT 1 FROM asset
    WHERE name LIKE coalesce($1, '%') ESCAPE '\' AND uri LIKE coalesce($2, '%') ESCAPE '\'
    LIMIT $3
)
