SELECT blob FROM xcom WHERE dag_run = $1 AND task_id = $2 AND map_index = $3 AND blob IS NOT NULL
UNION ALL SELECT blob FROM artifact WHERE dag_run = $1 AND task_id = $2 AND map_index = $3
UNION ALL SELECT blob FROM recording WHERE dag_run = $1 AND task_id = $2 AND map_index = $3
