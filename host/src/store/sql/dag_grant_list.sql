SELECT request, is_approved, decided_at, decided_by FROM dag_grant WHERE dag_id = $1 ORDER BY request
