SELECT count(*) FROM variable WHERE key LIKE $1 ESCAPE '\'
