DELETE FROM api_token WHERE username = $1
