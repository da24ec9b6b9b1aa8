SELECT r.key, r.dag_id, r.run_id, r.version, v.version_number, r.run_type, r.state, r.logical_date, r.data_interval_start,
    r.data_interval_end, r.run_after, r.queued_at, r.start_date, r.end_date,
    CASE WHEN octet_length(r.conf) <= 16384 THEN r.conf END AS conf, r.triggered_by, r.triggering_user, r.note,
    r.clear_number, r.message
FROM dag_run AS r
JOIN dag_version AS v ON v.key = r.version
WHERE r.state IN ('queued', 'running') AND r.key > $1
ORDER BY r.key
LIMIT $2
