UPDATE dag_version SET display_name = $2 WHERE key = $1
