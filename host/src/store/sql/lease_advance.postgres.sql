UPDATE lease SET epoch = epoch + 1 WHERE name = 'scheduler' AND holder = $1 AND expires_at > 0 RETURNING epoch
