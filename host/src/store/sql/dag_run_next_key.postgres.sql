SELECT greatest(
    coalesce((SELECT max(key) FROM dag_run), 0),
    (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM dag_run_deleted_key)
) + 1
