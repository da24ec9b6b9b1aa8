DELETE FROM asset_event WHERE key = $1
