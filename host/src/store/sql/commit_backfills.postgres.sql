-- Part of a commit; parameters are those of store/commit.rs.
UPDATE backfill
SET dealt_with = (e.value ->> 1)::bigint, skipped = (e.value ->> 2)::bigint, last_date = (e.value ->> 3)::bigint,
    is_paused = (e.value ->> 4)::bigint, completed_at = (e.value ->> 5)::bigint, updated_at = $1
FROM jsonb_array_elements($23::jsonb) AS e
WHERE backfill.id = (e.value ->> 0)::bigint;
