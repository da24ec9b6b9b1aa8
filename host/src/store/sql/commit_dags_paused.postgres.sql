-- Part of a commit; parameters are those of store/commit.rs.
UPDATE dag
SET is_paused = 1, pause_reason = e.value ->> 1, updated_at = $1
FROM jsonb_array_elements($18::jsonb) AS e
WHERE dag.dag_id = e.value ->> 0;
