SELECT r.key, r.dag_id, r.run_id, r.version, v.version_number, r.run_type, r.state, r.logical_date, r.data_interval_start,
    r.data_interval_end, r.run_after, r.queued_at, r.start_date, r.end_date, NULL AS conf, r.triggered_by, r.triggering_user, r.note,
    r.clear_number, r.message, o.dag_run, o.parent_run, o.parent_task_id, o.parent_map_index, o.parent_try_number, o.depth
FROM dag_run_origin AS o
CROSS JOIN dag_run AS r
JOIN dag_version AS v ON v.key = r.version
WHERE r.key = o.dag_run
