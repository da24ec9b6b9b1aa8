-- What people and programs changed, or were refused to. Rows are added, and never changed.
CREATE TABLE event_log (
    id        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    event     TEXT    NOT NULL,                                       -- what was done: the permission that it took, as `dag.pause`
    is_denied INTEGER NOT NULL CHECK (is_denied IN (0, 1)),           -- 1: it was refused, and changed nothing
    username  TEXT,                                                   -- NULL: nobody that is known
    token     TEXT,                                                   -- the name of the API token that was shown
    peer      TEXT,                                                   -- the address that it came from; NULL: the command line of the data directory
    route     TEXT    NOT NULL,                                       -- method and path of the request
    dag_id    TEXT,
    run_id    TEXT,
    task_id   TEXT,
    map_index INTEGER,
    object    TEXT,                                                   -- what it was about, if no dag
    before    TEXT,                                                   -- JSON, without secrets
    after     TEXT                                                    -- JSON, without secrets
) STRICT;
CREATE INDEX event_log_by_dag ON event_log (dag_id, id) WHERE dag_id IS NOT NULL;
CREATE INDEX event_log_by_username ON event_log (username, id);
CREATE INDEX event_log_by_event ON event_log (event, id);
CREATE TRIGGER event_log_is_not_changed BEFORE UPDATE ON event_log
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only added to');
END;
