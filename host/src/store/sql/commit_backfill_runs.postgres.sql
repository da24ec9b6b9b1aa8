-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO backfill_run (dag_run, backfill)
SELECT (value ->> 0)::bigint, (value ->> 1)::bigint FROM jsonb_array_elements($24::jsonb)
ON CONFLICT (dag_run) DO UPDATE SET backfill = excluded.backfill;
