SELECT count(*) FROM api_token WHERE $1 IS NULL OR username = $1
