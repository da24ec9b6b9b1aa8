SELECT holder, url, epoch FROM lease WHERE name = 'scheduler' AND expires_at >= airlock_now()
