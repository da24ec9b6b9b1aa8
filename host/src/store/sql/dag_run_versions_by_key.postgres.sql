SELECT key, version FROM dag_run WHERE key IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb))
