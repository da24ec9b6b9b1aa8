SELECT count(*) FROM (SELECT 1 FROM component LIMIT $1)
