-- Part of a commit; parameters are those of store/commit.rs.
UPDATE backfill
SET dealt_with = j.dealt_with, skipped = j.skipped, last_date = j.last_date, is_paused = j.is_paused,
    completed_at = j.completed_at, updated_at = $1
FROM (
    SELECT value ->> 0 AS id, value ->> 1 AS dealt_with, value ->> 2 AS skipped, value ->> 3 AS last_date,
        value ->> 4 AS is_paused, value ->> 5 AS completed_at
    FROM jsonb_each($23)
) AS j
WHERE backfill.id = j.id;
