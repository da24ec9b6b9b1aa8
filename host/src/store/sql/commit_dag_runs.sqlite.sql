-- Part of a commit; parameters are those of store/commit.rs.
UPDATE dag_run
SET state = j.state, queued_at = coalesce(j.queued_at, dag_run.queued_at), start_date = j.start_date, end_date = j.end_date,
    clear_number = j.clear_number, message = j.message, verdict = j.verdict
FROM (
    SELECT value ->> 0 AS key, value ->> 1 AS state, value ->> 2 AS queued_at, value ->> 3 AS start_date,
        value ->> 4 AS end_date, value ->> 5 AS clear_number, value ->> 6 AS message, value ->> 7 AS verdict
    FROM jsonb_each($3)
) AS j
WHERE dag_run.key = j.key;
INSERT INTO commit_guard (missing_rows) SELECT $4 - changes() WHERE changes() <> $4;
