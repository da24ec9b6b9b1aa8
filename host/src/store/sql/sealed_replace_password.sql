UPDATE connection SET sealed_password = $3 WHERE id = $1 AND sealed_password = $2
