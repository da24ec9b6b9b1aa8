-- Part of a commit; parameters are those of store/commit.rs.
UPDATE dag_run
SET state = e.value ->> 1, queued_at = coalesce((e.value ->> 2)::bigint, dag_run.queued_at),
    start_date = (e.value ->> 3)::bigint, end_date = (e.value ->> 4)::bigint, clear_number = (e.value ->> 5)::bigint,
    message = e.value ->> 6, verdict = e.value ->> 7
FROM jsonb_array_elements($3::jsonb) AS e
WHERE dag_run.key = (e.value ->> 0)::bigint;
GET DIAGNOSTICS changed = ROW_COUNT;
IF changed <> $4 THEN
    RAISE EXCEPTION 'rows are not there' USING ERRCODE = 'check_violation', CONSTRAINT = 'rows_are_there';
END IF;
