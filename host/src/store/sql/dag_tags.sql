SELECT tag FROM dag_tag WHERE dag_id = $1 ORDER BY tag
