SELECT CAST(1 AS BIGINT) FROM event_log
WHERE id > (SELECT coalesce(max(id), 0) - 1000 FROM event_log) AND at = $1 AND event = $2 AND route = $3
