SELECT v.key, v.description, v.updated_at
FROM variable AS v
WHERE TRUE
