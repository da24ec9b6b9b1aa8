INSERT INTO lease (name, holder, url, epoch, expires_at) VALUES ('scheduler', $1, $2, 1, airlock_now() + $3)
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, url = excluded.url, epoch = lease.epoch + 1, expires_at = excluded.expires_at
WHERE lease.expires_at < airlock_now()
RETURNING epoch
