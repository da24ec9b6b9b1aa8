-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO backfill_run (dag_run, backfill)
SELECT value ->> 0, value ->> 1 FROM jsonb_each($24) WHERE TRUE
ON CONFLICT (dag_run) DO UPDATE SET backfill = excluded.backfill;
