SELECT * FROM backfill WHERE completed_at IS NULL ORDER BY id
