INSERT INTO dag (dag_id, is_paused, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (dag_id) DO UPDATE
SET version = excluded.version, updated_at = excluded.updated_at
