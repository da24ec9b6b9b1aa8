SELECT r.key, r.dag_id, r.run_id, r.version, v.version_number, r.run_type, r.state, r.logical_date, r.data_interval_start,
    r.data_interval_end, r.run_after, r.queued_at, r.start_date, r.end_date, NULL AS conf, r.triggered_by, r.triggering_user, r.note,
    r.clear_number, r.message
FROM dag_run AS r
JOIN dag_version AS v ON v.key = r.version
WHERE r.key IN (
    SELECT newest.key
    FROM json_each($1) AS d
    JOIN dag_run AS newest ON newest.key IN (
        SELECT of_dag.key FROM dag_run AS of_dag WHERE of_dag.dag_id = d.value ORDER BY of_dag.run_after DESC LIMIT $2
    )
)
ORDER BY r.dag_id, r.run_after DESC
