SELECT x.dag_run, x.task_id, x.map_index, x.key, x.media_type, x.size_bytes, x.created_at, r.dag_id, r.run_id, r.logical_date,
    r.run_after, x.blob, x.body
FROM xcom AS x
JOIN dag_run AS r ON r.key = x.dag_run
WHERE x.dag_run = $1 AND x.task_id = $2 AND x.map_index = $3
ORDER BY x.key
