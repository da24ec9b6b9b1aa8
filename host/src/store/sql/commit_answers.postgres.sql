-- Part of a commit; parameters are those of store/commit.rs.
UPDATE approval SET answer = e.value ->> 5, waiting = 0
FROM jsonb_array_elements($26::jsonb) AS e
WHERE dag_run = (e.value ->> 0)::bigint AND task_id = e.value ->> 1 AND map_index = (e.value ->> 2)::bigint
    AND try_number = (e.value ->> 3)::bigint AND subject = e.value ->> 4 AND answer IS NULL;
