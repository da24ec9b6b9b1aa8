INSERT INTO webhook (dag_id, sealed, created_at, created_by) VALUES ($1, $2, $3, $4)
ON CONFLICT (dag_id) DO UPDATE SET sealed = excluded.sealed, created_at = excluded.created_at, created_by = excluded.created_by
