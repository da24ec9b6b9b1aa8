SELECT r.key, r.dag_id, r.run_id, r.version, v.version_number, r.run_type, r.state, r.logical_date, r.data_interval_start,
    r.data_interval_end, r.run_after, r.queued_at, r.start_date, r.end_date, r.conf, r.triggered_by, r.triggering_user, r.note,
    r.clear_number, r.message
FROM dag_run AS r
JOIN dag_version AS v ON v.key = r.version
WHERE r.key = (
    SELECT before.key FROM (
        SELECT key, state, run_type, run_after FROM dag_run
        WHERE dag_id = $1 AND run_after < $2
        ORDER BY run_after DESC
        LIMIT 1000
    ) AS before
    WHERE before.state = 'success' AND ($3 = 0 OR before.run_type <> 'manual')
    ORDER BY before.run_after DESC
    LIMIT 1
)
