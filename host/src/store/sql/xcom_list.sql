SELECT x.dag_run, x.task_id, x.map_index, x.key, x.media_type, x.size_bytes, x.created_at, r.dag_id, r.run_id, r.logical_date,
    r.run_after
FROM xcom AS x
CROSS JOIN dag_run AS r
WHERE r.key = x.dag_run
