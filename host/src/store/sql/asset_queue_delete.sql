DELETE FROM asset_queue
WHERE ($1 IS NULL OR dag_id = $1) AND ($2 IS NULL OR asset = $2)
    AND ($3 IS NULL OR (SELECT timestamp FROM asset_event WHERE key = event) < $3)
