DELETE FROM garbage WHERE blob = $1
