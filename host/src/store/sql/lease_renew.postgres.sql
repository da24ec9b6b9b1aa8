UPDATE lease SET expires_at = airlock_now() + $2 WHERE name = 'scheduler' AND holder = $1 AND expires_at > 0
