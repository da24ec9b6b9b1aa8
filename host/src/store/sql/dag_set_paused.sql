UPDATE dag SET is_paused = $2, pause_reason = NULL, updated_at = $3 WHERE dag_id = $1
