-- Part of a commit; parameters are those of store/commit.rs. An event may wait under its asset's name and under an alias.
INSERT INTO dag_run_asset_event (dag_run, event)
SELECT DISTINCT j.value ->> 0, q.event
FROM jsonb_each($21) AS j
CROSS JOIN asset_queue AS q ON q.dag_id = j.value ->> 1;
DELETE FROM asset_queue WHERE dag_id IN (SELECT value ->> 1 FROM jsonb_each($21));
