SELECT count(*) FROM variable WHERE lower(key) LIKE lower($1) ESCAPE '\'
