SELECT max(
    coalesce((SELECT max(key) FROM dag_run), 0),
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'dag_run_leftover'), 0)
) + 1
