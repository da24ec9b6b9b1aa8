SELECT name FROM pool
