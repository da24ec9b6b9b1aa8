DELETE FROM event_log
WHERE id IN (SELECT id FROM (SELECT id, at FROM event_log WHERE at <= $3 ORDER BY id LIMIT $2) AS oldest WHERE at < $1)
