SELECT d.dag_id, d.is_paused, d.pause_reason, d.version, d.last_scheduled_start, d.last_scheduled_end, d.created_at, d.updated_at, v.version_number,
    v.component
FROM dag AS d
JOIN dag_version AS v ON v.key = d.version
WHERE d.dag_id > $1
ORDER BY d.dag_id
LIMIT $2
