DELETE FROM pool WHERE name = $1
