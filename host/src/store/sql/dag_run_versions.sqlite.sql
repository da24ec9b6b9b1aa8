SELECT r.dag_id, r.run_id, r.version
FROM json_each($1) AS j
CROSS JOIN dag_run AS r ON r.dag_id = j.value ->> 0 AND r.run_id = j.value ->> 1
