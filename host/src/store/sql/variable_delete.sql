DELETE FROM variable WHERE key = $1
