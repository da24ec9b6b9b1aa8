SELECT
    (SELECT count(*) FROM task_instance WHERE dag_run IN (SELECT value FROM json_each($1))),
    (SELECT coalesce(sum(size_bytes), 0) FROM artifact WHERE dag_run IN (SELECT value FROM json_each($1)))
    + (SELECT coalesce(sum(size_bytes), 0) FROM xcom WHERE dag_run IN (SELECT value FROM json_each($1)) AND blob IS NOT NULL),
    (SELECT coalesce(sum(length_bytes), 0) FROM log_chunk WHERE dag_run IN (SELECT value FROM json_each($1)))
    + (SELECT coalesce(sum(size_bytes), 0) FROM recording WHERE dag_run IN (SELECT value FROM json_each($1)))
