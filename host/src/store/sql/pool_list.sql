SELECT p.name, p.slots, p.description, p.include_deferred
FROM pool AS p
WHERE TRUE
