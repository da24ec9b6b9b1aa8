SELECT v.key, v.sealed, v.description, v.updated_at
FROM variable AS v
WHERE TRUE
