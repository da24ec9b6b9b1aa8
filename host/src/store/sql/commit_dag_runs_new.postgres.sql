-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO dag_run (key, dag_id, run_id, version, run_type, state, logical_date, data_interval_start, data_interval_end,
    run_after, queued_at, start_date, end_date, clear_number, triggered_by, triggering_user, note, conf)
SELECT (value ->> 0)::bigint, value ->> 1, value ->> 2, (value ->> 3)::bigint, value ->> 4, value ->> 5,
    (value ->> 6)::bigint, (value ->> 7)::bigint, (value ->> 8)::bigint, (value ->> 9)::bigint, (value ->> 10)::bigint,
    (value ->> 11)::bigint, NULL, 0, value ->> 12, value ->> 13, value ->> 14, value ->> 15
FROM jsonb_array_elements($2::jsonb);
