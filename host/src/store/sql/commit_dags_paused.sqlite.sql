-- Part of a commit; parameters are those of store/commit.rs.
UPDATE dag
SET is_paused = 1, pause_reason = j.pause_reason, updated_at = $1
FROM (SELECT value ->> 0 AS dag_id, value ->> 1 AS pause_reason FROM jsonb_each($18)) AS j
WHERE dag.dag_id = j.dag_id;
