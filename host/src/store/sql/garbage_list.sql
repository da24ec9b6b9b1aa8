SELECT blob FROM garbage ORDER BY key LIMIT $1
