SELECT count(*) FROM connection WHERE id LIKE $1 ESCAPE '\'
