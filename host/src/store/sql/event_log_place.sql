-- When the oldest of the last $1 entries was written. Numbers are not given twice, and few are left out.
SELECT at FROM event_log WHERE id > (SELECT max(id) FROM event_log) - $1 ORDER BY id LIMIT 1
