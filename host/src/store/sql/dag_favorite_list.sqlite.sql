SELECT dag_id FROM dag_favorite WHERE username = $1 AND dag_id IN (SELECT value FROM json_each($2))
