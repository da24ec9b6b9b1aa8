SELECT * FROM backfill WHERE id = $1
