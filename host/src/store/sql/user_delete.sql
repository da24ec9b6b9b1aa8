DELETE FROM airlock_user WHERE username = $1
