-- Part of a commit; parameters are those of store/commit.rs.
UPDATE task_instance
SET state = e.value ->> 3, try_number = (e.value ->> 4)::bigint, max_tries = (e.value ->> 5)::bigint,
    restarts = (e.value ->> 6)::bigint, scheduled_at = (e.value ->> 7)::bigint, queued_at = (e.value ->> 8)::bigint,
    start_date = (e.value ->> 9)::bigint, end_date = (e.value ->> 10)::bigint, wake_at = (e.value ->> 11)::bigint,
    list_length = (e.value ->> 12)::bigint, followed = e.value ->> 13, message = e.value ->> 14,
    hostname = coalesce(e.value ->> 15, CASE WHEN e.value ->> 9 IS NOT NULL AND task_instance.try_number = (e.value ->> 4)::bigint
        THEN task_instance.hostname END)
FROM jsonb_array_elements($8::jsonb) AS e
WHERE task_instance.dag_run = (e.value ->> 0)::bigint AND task_instance.task_id = e.value ->> 1
    AND task_instance.map_index = (e.value ->> 2)::bigint;
GET DIAGNOSTICS changed = ROW_COUNT;
IF changed <> $9 THEN
    RAISE EXCEPTION 'rows are not there' USING ERRCODE = 'check_violation', CONSTRAINT = 'rows_are_there';
END IF;
