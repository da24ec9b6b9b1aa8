-- Part of a commit; parameters are those of store/commit.rs.
DELETE FROM xcom WHERE (dag_run, task_id, map_index)
    IN (SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint FROM jsonb_array_elements($10::jsonb));
DELETE FROM artifact WHERE (dag_run, task_id, map_index)
    IN (SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint FROM jsonb_array_elements($10::jsonb));
DELETE FROM cached_result WHERE (dag_run, task_id, map_index)
    IN (SELECT (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint FROM jsonb_array_elements($10::jsonb));
