SELECT x.dag_run, x.task_id, x.map_index, x.key, x.media_type, x.size_bytes, x.created_at, r.dag_id, r.run_id, r.logical_date,
    r.run_after, x.blob, x.body
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS j (value, place)
JOIN xcom AS x
    ON x.dag_run = (j.value ->> 0)::bigint AND x.task_id = j.value ->> 1 AND x.map_index = (j.value ->> 2)::bigint
    AND x.key = j.value ->> 3
JOIN dag_run AS r ON r.key = x.dag_run
ORDER BY j.place
