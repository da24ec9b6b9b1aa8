SELECT r.dag_id, r.run_id, r.version
FROM jsonb_array_elements($1::jsonb) AS j
JOIN dag_run AS r ON r.dag_id = j.value ->> 0 AND r.run_id = j.value ->> 1
