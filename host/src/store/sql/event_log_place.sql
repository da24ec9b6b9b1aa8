-- When the oldest of the last $1 entries was written, of those that the clock has come to. Numbers are not given twice, and few are left out.
SELECT at FROM event_log WHERE id > (SELECT max(id) FROM event_log) - $1 AND at <= $2 ORDER BY id LIMIT 1
