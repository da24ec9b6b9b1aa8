DELETE FROM garbage WHERE blob IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
