-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO cached_result (key, dag_run, task_id, map_index, try_number, dag_id, run_id, made_at, expires_at, asset_extras)
SELECT DISTINCT ON (value ->> 0) decode(value ->> 0, 'hex'), (value ->> 1)::bigint, value ->> 2, (value ->> 3)::bigint, (value ->> 4)::bigint,
    value ->> 5, value ->> 6, (value ->> 7)::bigint, (value ->> 8)::bigint, value ->> 9
FROM jsonb_array_elements($29::jsonb) WITH ORDINALITY AS e (value, place)
-- Of two of one key the later counts.
ORDER BY value ->> 0, place DESC
ON CONFLICT (key) DO UPDATE
SET dag_run = excluded.dag_run, task_id = excluded.task_id, map_index = excluded.map_index, try_number = excluded.try_number,
    dag_id = excluded.dag_id, run_id = excluded.run_id, made_at = excluded.made_at, expires_at = excluded.expires_at,
    asset_extras = excluded.asset_extras;
