SELECT
    (SELECT count(*) FROM task_instance WHERE dag_run IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb))),
    (SELECT coalesce(sum(size_bytes), 0)::bigint FROM artifact WHERE dag_run IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb)))
    + (SELECT coalesce(sum(size_bytes), 0)::bigint FROM xcom WHERE dag_run IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb)) AND blob IS NOT NULL),
    (SELECT coalesce(sum(length_bytes), 0)::bigint FROM log_chunk WHERE dag_run IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb)))
    + (SELECT coalesce(sum(size_bytes), 0)::bigint FROM recording WHERE dag_run IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb)))
