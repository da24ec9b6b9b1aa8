SELECT count(*) FROM pool WHERE name LIKE $1 ESCAPE '\'
