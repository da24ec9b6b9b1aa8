DELETE FROM cached_result WHERE key IN (SELECT key FROM cached_result WHERE dag_run = $1 LIMIT $2)
RETURNING CAST(0 AS BIGINT)
