UPDATE callback SET state = $2, attempts = attempts + 1, due_at = $3, error = $4 WHERE key = $1
