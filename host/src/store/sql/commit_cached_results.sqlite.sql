-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO cached_result (key, dag_run, task_id, map_index, try_number, dag_id, run_id, made_at, expires_at, asset_extras)
SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8,
    value ->> 9
FROM jsonb_each($29)
WHERE TRUE
ON CONFLICT (key) DO UPDATE
SET dag_run = excluded.dag_run, task_id = excluded.task_id, map_index = excluded.map_index, try_number = excluded.try_number,
    dag_id = excluded.dag_id, run_id = excluded.run_id, made_at = excluded.made_at, expires_at = excluded.expires_at,
    asset_extras = excluded.asset_extras;
