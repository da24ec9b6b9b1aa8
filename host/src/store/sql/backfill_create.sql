INSERT INTO backfill (dag_id, from_date, to_date, run_backwards, max_active_runs, reprocess_behavior, dag_run_conf, total,
    triggering_user, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
RETURNING *
