-- Recordings of tries, for `airlock replay`. A try that was started several times has that of its last start.
CREATE TABLE recording (
    dag_run    INTEGER NOT NULL,                          -- dag_run.key
    task_id    TEXT    NOT NULL,
    map_index  INTEGER NOT NULL,
    try_number INTEGER NOT NULL CHECK (try_number > 0),
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),  -- of the object
    created_at INTEGER NOT NULL,
    blob       TEXT    NOT NULL,                          -- the object that holds it
    PRIMARY KEY (dag_run, task_id, map_index, try_number)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER recording_deleted AFTER DELETE ON recording
BEGIN INSERT INTO garbage (blob) VALUES (old.blob) ON CONFLICT DO NOTHING; END;
CREATE TRIGGER recording_replaced AFTER UPDATE OF blob ON recording WHEN old.blob <> new.blob
BEGIN INSERT INTO garbage (blob) VALUES (old.blob) ON CONFLICT DO NOTHING; END;
