-- Part of a commit; parameters are those of store/commit.rs.
DELETE FROM wait WHERE (dag_run, task_id, map_index)
    IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each($16));
UPDATE approval SET waiting = 0
WHERE (dag_run, task_id, map_index) IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each($16)) AND waiting = 1;
