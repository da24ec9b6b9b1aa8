SELECT count(*) FROM pool WHERE lower(name) LIKE lower($1) ESCAPE '\'
