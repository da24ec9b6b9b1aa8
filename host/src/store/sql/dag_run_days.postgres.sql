SELECT
    (SELECT count(*) FROM (
        SELECT 1 FROM dag_run
        WHERE dag_id = $1 AND run_after >= (day.value ->> 0)::bigint AND run_after < (day.value ->> 1)::bigint LIMIT $3) AS counted),
    (SELECT count(*) FROM (
        SELECT 1 FROM dag_run
        WHERE dag_id = $1 AND state = 'failed' AND run_after >= (day.value ->> 0)::bigint
          AND run_after < (day.value ->> 1)::bigint LIMIT $3) AS counted)
FROM jsonb_array_elements($2::jsonb) WITH ORDINALITY AS day (value, place)
ORDER BY day.place
