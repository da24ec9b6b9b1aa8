-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO rendered_fields (dag_run, task_id, map_index, try_number, fields)
SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint, (value ->> 3)::bigint, value ->> 4
FROM jsonb_array_elements($31::jsonb)
ON CONFLICT (dag_run, task_id, map_index, try_number) DO UPDATE SET fields = excluded.fields;
