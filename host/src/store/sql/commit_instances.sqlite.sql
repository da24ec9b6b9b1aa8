-- Part of a commit; parameters are those of store/commit.rs.
UPDATE task_instance
SET state = j.state, try_number = j.try_number, max_tries = j.max_tries, restarts = j.restarts,
    scheduled_at = j.scheduled_at, queued_at = j.queued_at, start_date = j.start_date, end_date = j.end_date,
    wake_at = j.wake_at, list_length = j.list_length, followed = j.followed, message = j.message,
    hostname = coalesce(j.hostname, CASE WHEN j.start_date IS NOT NULL AND task_instance.try_number = j.try_number
        THEN task_instance.hostname END)
FROM (
    SELECT value ->> 0 AS dag_run, value ->> 1 AS task_id, value ->> 2 AS map_index, value ->> 3 AS state,
        value ->> 4 AS try_number, value ->> 5 AS max_tries, value ->> 6 AS restarts, value ->> 7 AS scheduled_at,
        value ->> 8 AS queued_at, value ->> 9 AS start_date, value ->> 10 AS end_date, value ->> 11 AS wake_at,
        value ->> 12 AS list_length, value ->> 13 AS followed, value ->> 14 AS message,
        value ->> 15 AS hostname
    FROM jsonb_each($8)
) AS j
WHERE task_instance.dag_run = j.dag_run AND task_instance.task_id = j.task_id AND task_instance.map_index = j.map_index;
INSERT INTO commit_guard (missing_rows) SELECT $9 - changes() WHERE changes() <> $9;
