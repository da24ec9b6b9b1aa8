SELECT f.dag_run, f.task_id, f.map_index, f.try_number, f.fields
FROM jsonb_each($1) AS j
CROSS JOIN rendered_fields AS f
    ON f.dag_run = j.value ->> 0 AND f.task_id = j.value ->> 1 AND f.map_index = j.value ->> 2
    AND f.try_number = j.value ->> 3
