SELECT name, slots, description, include_deferred FROM pool WHERE name = $1
