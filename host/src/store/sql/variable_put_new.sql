INSERT INTO variable (key, sealed, description, updated_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO NOTHING
