SELECT name, slots, description, include_deferred FROM pool WHERE lower(name) LIKE lower($1) ESCAPE '\' ORDER BY name LIMIT $2 OFFSET $3
