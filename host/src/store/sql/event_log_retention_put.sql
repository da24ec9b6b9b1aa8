INSERT INTO event_log_retention (id, before) VALUES (1, $1)
ON CONFLICT (id) DO UPDATE SET before = excluded.before WHERE excluded.before > event_log_retention.before
