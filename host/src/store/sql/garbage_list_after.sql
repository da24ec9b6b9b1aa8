SELECT blob FROM garbage WHERE key > $1 ORDER BY key
