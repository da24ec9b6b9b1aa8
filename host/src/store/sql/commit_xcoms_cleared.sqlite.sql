-- Part of a commit; parameters are those of store/commit.rs.
DELETE FROM xcom WHERE (dag_run, task_id, map_index)
    IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each($10));
DELETE FROM artifact WHERE (dag_run, task_id, map_index)
    IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each($10));
DELETE FROM cached_result WHERE (dag_run, task_id, map_index)
    IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each($10));
