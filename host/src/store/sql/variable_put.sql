INSERT INTO variable (key, sealed, description, updated_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE
SET sealed = excluded.sealed, description = excluded.description, updated_at = excluded.updated_at
