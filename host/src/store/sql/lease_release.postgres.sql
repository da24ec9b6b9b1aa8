UPDATE lease SET expires_at = 0 WHERE name = 'scheduler' AND holder = $1
