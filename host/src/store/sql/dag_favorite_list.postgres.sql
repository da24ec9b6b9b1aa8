SELECT dag_id FROM dag_favorite WHERE username = $1 AND dag_id IN (SELECT value FROM jsonb_array_elements_text($2::jsonb))
