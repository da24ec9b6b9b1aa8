SELECT x.dag_run, x.task_id, x.map_index, x.key, x.media_type, x.size_bytes, x.created_at, r.dag_id, r.run_id, r.logical_date,
    r.run_after, x.blob, x.body
FROM dag_run AS r
JOIN xcom AS x ON x.dag_run = r.key AND x.task_id = $2 AND x.key = $3
WHERE r.dag_id = $1 AND r.logical_date >= $4 AND r.logical_date < $5
ORDER BY r.logical_date NULLS FIRST, x.map_index
LIMIT $6
