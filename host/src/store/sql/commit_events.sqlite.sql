-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO event_log (at, event, is_denied, username, token, peer, route, dag_id, run_id, task_id, map_index, object, before, after)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8,
    value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13
FROM jsonb_each($33);
