SELECT count(*) FROM connection WHERE lower(id) LIKE lower($1) ESCAPE '\'
