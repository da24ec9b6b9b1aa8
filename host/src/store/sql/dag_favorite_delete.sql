DELETE FROM dag_favorite WHERE username = $1 AND dag_id = $2
