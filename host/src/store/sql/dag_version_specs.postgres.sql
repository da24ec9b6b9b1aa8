SELECT key, spec FROM dag_version WHERE key IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb))
