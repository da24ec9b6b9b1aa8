UPDATE connection SET sealed_extra = $3 WHERE id = $1 AND sealed_extra = $2
