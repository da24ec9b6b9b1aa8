-- Of those that the clock has come to: one of before that was ahead keeps no other.
SELECT at FROM event_log WHERE at <= $1 ORDER BY id LIMIT 1
