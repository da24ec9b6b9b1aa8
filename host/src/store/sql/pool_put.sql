INSERT INTO pool (name, slots, description, include_deferred)
VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE
SET slots = excluded.slots, description = excluded.description, include_deferred = excluded.include_deferred
