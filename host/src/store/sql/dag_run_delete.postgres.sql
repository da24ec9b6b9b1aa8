INSERT INTO dag_run_leftover (dag_run)
SELECT key FROM dag_run
WHERE key IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb)) AND ($2 = 0 OR state IN ('success', 'failed'))
