DELETE FROM dag_run_origin WHERE dag_run IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb))
