DELETE FROM garbage WHERE blob IN (SELECT value FROM json_each($1))
