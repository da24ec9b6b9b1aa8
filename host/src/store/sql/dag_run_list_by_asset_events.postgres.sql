SELECT r.key, r.dag_id, r.run_id, r.version, v.version_number, r.run_type, r.state, r.logical_date, r.data_interval_start,
    r.data_interval_end, r.run_after, r.queued_at, r.start_date, r.end_date, NULL AS conf, r.triggered_by, r.triggering_user, r.note,
    r.clear_number, r.message, x.event,
    (SELECT max(y.event) FROM dag_run_asset_event AS y WHERE y.dag_run = x.dag_run) AS last_event
FROM jsonb_array_elements_text($1::jsonb) AS j
JOIN dag_run_asset_event AS x ON x.event = j.value::bigint
JOIN dag_run AS r ON r.key = x.dag_run
JOIN dag_version AS v ON v.key = r.version
ORDER BY x.event, r.key
LIMIT 10000
