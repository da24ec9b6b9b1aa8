INSERT INTO dag_grant (dag_id, request, is_approved, decided_at, decided_by)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (dag_id, request) DO UPDATE
SET is_approved = excluded.is_approved, decided_at = excluded.decided_at, decided_by = excluded.decided_by
