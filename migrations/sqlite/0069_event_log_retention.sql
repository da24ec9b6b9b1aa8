-- Until when entries of the audit log may be deleted: the one way to delete some.
CREATE TABLE event_log_retention (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    before INTEGER NOT NULL                         -- entries of earlier instants may go; it never moves back
) STRICT;
CREATE TRIGGER event_log_retention_moves_on BEFORE UPDATE ON event_log_retention WHEN new.before < old.before
BEGIN
    SELECT RAISE(ABORT, 'entries of the audit log that are gone do not come back');
END;
CREATE TRIGGER event_log_is_not_deleted BEFORE DELETE ON event_log
WHEN old.at >= coalesce((SELECT before FROM event_log_retention), old.at)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only deleted by retention');
END;
