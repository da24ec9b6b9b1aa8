UPDATE variable SET sealed = $3 WHERE key = $1 AND sealed = $2
