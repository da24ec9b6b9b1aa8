UPDATE airlock_user SET role = $3, updated_at = $4 WHERE issuer = $1 AND subject = $2
