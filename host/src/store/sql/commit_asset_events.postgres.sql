-- Part of a commit; parameters are those of store/commit.rs. An asset that a run's own version names, but no newest one, may have gone
-- by retention.
INSERT INTO asset (name, uri, asset_group, extra, created_at, updated_at)
SELECT value ->> 1, coalesce(value ->> 9, value ->> 1), coalesce(value ->> 10, 'asset'), '{}', $1, $1
FROM jsonb_array_elements($19::jsonb)
WHERE NOT EXISTS (SELECT 1 FROM asset WHERE name = value ->> 1)
ON CONFLICT DO NOTHING;
INSERT INTO asset_event (key, asset, timestamp, extra, source_dag_id, source_run_id, source_task_id, source_map_index, created_by,
    alias)
SELECT (value ->> 0)::bigint, (SELECT id FROM asset WHERE name = value ->> 1), (value ->> 2)::bigint, value ->> 3,
    value ->> 4, value ->> 5, value ->> 6, (value ->> 7)::bigint, value ->> 8,
    (SELECT id FROM asset WHERE name = value ->> 11)
FROM jsonb_array_elements($19::jsonb);
