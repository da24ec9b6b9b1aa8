SELECT f.dag_run, f.task_id, f.map_index, f.try_number, f.fields
FROM jsonb_array_elements($1::jsonb) AS j
JOIN rendered_fields AS f
    ON f.dag_run = (j.value ->> 0)::bigint AND f.task_id = j.value ->> 1 AND f.map_index = (j.value ->> 2)::bigint
    AND f.try_number = (j.value ->> 3)::bigint
