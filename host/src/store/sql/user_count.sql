SELECT count(*) FROM airlock_user
