INSERT INTO lease (name, holder, url, epoch, expires_at) VALUES ('scheduler', $1, $2, 1, airlock_now() + $3)
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, url = excluded.url, epoch = lease.epoch + 1, expires_at = excluded.expires_at
WHERE lease.expires_at < airlock_now()
    OR (lease.holder = $4 AND pg_try_advisory_xact_lock(hashtextextended(lease.holder, 0)))
RETURNING epoch
