-- Airlock's metadata database, SQLite. Append-only: later changes are files of their own.
--
-- Instants are whole microseconds since 1970-01-01T00:00:00Z, UTC. Digests are 32 bytes of SHA-256.
-- Texts named *_id or *key are names that users chose, checked before they come here.
-- History holds no cascading foreign keys: what a dag_run owns is deleted in bounded steps by dag_run_delete.

-- An uploaded WebAssembly component. Its bytes are in object storage, under its digest.
CREATE TABLE component (
    digest      BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32), -- SHA-256 of the bytes
    size_bytes  INTEGER NOT NULL CHECK (size_bytes >= 0),                 -- length of the bytes
    uploaded_at INTEGER NOT NULL,                                         -- when it was first uploaded
    uploaded_by TEXT    NOT NULL,                                         -- the user who first uploaded it
    module      BLOB    NOT NULL                                          -- ModuleSpec as packed JSON, without its dags (they are dag_versions)
) STRICT, WITHOUT ROWID;
CREATE INDEX component_by_uploaded_at ON component (uploaded_at);

-- A dag: what does not change with its versions.
CREATE TABLE dag (
    dag_id               TEXT    NOT NULL PRIMARY KEY,
    is_paused            INTEGER NOT NULL CHECK (is_paused IN (0, 1)), -- 1: no new scheduled runs, queued runs wait
    version              INTEGER NOT NULL,                             -- the newest dag_version's key
    last_scheduled_start INTEGER,                                      -- data interval of the last scheduled run that was made
    last_scheduled_end   INTEGER,
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL,                             -- last deployed or paused/unpaused
    CHECK ((last_scheduled_start IS NULL) = (last_scheduled_end IS NULL))
) STRICT, WITHOUT ROWID;

-- A tag of a dag's newest version.
CREATE TABLE dag_tag (
    tag    TEXT NOT NULL,
    dag_id TEXT NOT NULL REFERENCES dag (dag_id) ON DELETE CASCADE,
    PRIMARY KEY (tag, dag_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dag_tag_by_dag ON dag_tag (dag_id);

-- An owner of a dag's newest version.
CREATE TABLE dag_owner (
    owner  TEXT NOT NULL,
    dag_id TEXT NOT NULL REFERENCES dag (dag_id) ON DELETE CASCADE,
    PRIMARY KEY (owner, dag_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dag_owner_by_dag ON dag_owner (dag_id);

-- What a dag looked like and which component it came with. Never changes.
CREATE TABLE dag_version (
    key            INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    dag_id         TEXT    NOT NULL,
    version_number INTEGER NOT NULL CHECK (version_number > 0),               -- from 1, per dag
    component      BLOB    NOT NULL REFERENCES component (digest),            -- runs of this version execute this component
    content_hash   BLOB    NOT NULL CHECK (length(content_hash) = 32),        -- SHA-256 of the spec's JSON
    created_at     INTEGER NOT NULL,
    spec           BLOB    NOT NULL,                                          -- DagSpec as packed JSON
    UNIQUE (dag_id, version_number)
) STRICT;
CREATE INDEX dag_version_by_component ON dag_version (component, dag_id);

-- One run of a dag.
CREATE TABLE dag_run (
    key                 INTEGER NOT NULL PRIMARY KEY,  -- given by the scheduler, grows with time, never reused
    dag_id              TEXT    NOT NULL,
    run_id              TEXT    NOT NULL,              -- unique within its dag
    version             INTEGER NOT NULL REFERENCES dag_version (key),
    run_type            TEXT    NOT NULL CHECK (run_type IN ('scheduled', 'manual')),
    state               TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'success', 'failed')),
    logical_date        INTEGER,                       -- unique within its dag; none: a run about no date
    data_interval_start INTEGER,                       -- first instant that the run is about
    data_interval_end   INTEGER,                       -- first instant after it
    run_after           INTEGER NOT NULL,              -- not to be started before
    queued_at           INTEGER NOT NULL,
    start_date          INTEGER,                       -- when it went to running
    end_date            INTEGER,                       -- when it was finished
    clear_number        INTEGER NOT NULL CHECK (clear_number >= 0), -- how often it was cleared
    message             TEXT,                          -- why it failed, where its task instances alone do not tell
    triggered_by        TEXT    NOT NULL,              -- timetable, rest_api, ui, cli
    triggering_user     TEXT,
    note                TEXT,                          -- what people wrote about it
    conf                TEXT    NOT NULL,              -- params given at the trigger: a JSON object
    CHECK ((data_interval_start IS NULL) = (data_interval_end IS NULL))
) STRICT;
CREATE UNIQUE INDEX dag_run_by_run_id ON dag_run (dag_id, run_id);
CREATE UNIQUE INDEX dag_run_by_logical_date ON dag_run (dag_id, logical_date);
CREATE INDEX dag_run_by_dag ON dag_run (dag_id);
CREATE INDEX dag_run_by_dag_run_after ON dag_run (dag_id, run_after);
CREATE INDEX dag_run_by_dag_start_date ON dag_run (dag_id, start_date);
CREATE INDEX dag_run_by_dag_end_date ON dag_run (dag_id, end_date);
CREATE INDEX dag_run_by_run_after ON dag_run (run_after);
CREATE INDEX dag_run_by_any_logical_date ON dag_run (logical_date);
CREATE INDEX dag_run_by_start_date ON dag_run (start_date);
CREATE INDEX dag_run_by_end_date ON dag_run (end_date);
CREATE INDEX dag_run_by_version ON dag_run (version);
CREATE INDEX dag_run_unfinished ON dag_run (dag_id, key, state) WHERE state IN ('queued', 'running');
CREATE INDEX dag_run_failed ON dag_run (dag_id, key) WHERE state = 'failed';

-- A task in a run, its present try. Clustered by run.
CREATE TABLE task_instance (
    dag_run         INTEGER NOT NULL,                 -- dag_run.key
    task_id         TEXT    NOT NULL,
    map_index       INTEGER NOT NULL CHECK (map_index >= -1), -- -1: the task is not mapped
    state           TEXT    NOT NULL CHECK (state IN ('none', 'scheduled', 'queued', 'running', 'success', 'restarting',
                        'failed', 'skipped', 'upstream_failed', 'up_for_retry', 'up_for_reschedule', 'removed')),
    try_number      INTEGER NOT NULL CHECK (try_number >= 0), -- 0: not tried yet
    max_tries       INTEGER NOT NULL CHECK (max_tries >= 0),
    restarts        INTEGER NOT NULL CHECK (restarts >= 0),   -- how often this try was started again because its runner was lost
    scheduled_at    INTEGER,
    queued_at       INTEGER,
    start_date      INTEGER,
    end_date        INTEGER,
    wake_at         INTEGER,                          -- when a waiting retry or reschedule is due
    list_length     INTEGER CHECK (list_length >= 0), -- length of the list that it returned, for mapped tasks
    pool_slots      INTEGER NOT NULL CHECK (pool_slots > 0),
    priority_weight INTEGER NOT NULL,
    pool            TEXT    NOT NULL,
    entry           TEXT    NOT NULL,                 -- which entry of the component it runs
    followed        TEXT,                             -- of a branch: the task ids that it chose, a JSON list
    message         TEXT,                             -- why it failed or was skipped, for people; secrets masked
    note            TEXT,                             -- what people wrote about it
    PRIMARY KEY (dag_run, task_id, map_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_instance_active ON task_instance (dag_run, task_id, map_index, state)
    WHERE state IN ('scheduled', 'queued', 'running', 'restarting', 'up_for_retry', 'up_for_reschedule');
CREATE INDEX task_instance_unsuccessful ON task_instance (dag_run, task_id, map_index, state)
    WHERE state IN ('failed', 'skipped', 'upstream_failed', 'removed');

-- Earlier tries of task instances. Columns as in task_instance.
CREATE TABLE task_instance_history (
    dag_run         INTEGER NOT NULL,
    task_id         TEXT    NOT NULL,
    map_index       INTEGER NOT NULL,
    try_number      INTEGER NOT NULL CHECK (try_number > 0),
    state           TEXT    NOT NULL,
    max_tries       INTEGER NOT NULL,
    restarts        INTEGER NOT NULL,
    scheduled_at    INTEGER,
    queued_at       INTEGER,
    start_date      INTEGER,
    end_date        INTEGER,
    wake_at         INTEGER,
    list_length     INTEGER,
    pool_slots      INTEGER NOT NULL,
    priority_weight INTEGER NOT NULL,
    pool            TEXT    NOT NULL,
    entry           TEXT    NOT NULL,
    followed        TEXT,
    message         TEXT,
    note            TEXT,
    PRIMARY KEY (dag_run, task_id, map_index, try_number)
) STRICT, WITHOUT ROWID;

-- A value that a task instance's successful try left for others.
CREATE TABLE xcom (
    dag_run    INTEGER NOT NULL,                    -- dag_run.key
    task_id    TEXT    NOT NULL,
    map_index  INTEGER NOT NULL,
    key        TEXT    NOT NULL,                    -- return_value: the task's result
    media_type TEXT    NOT NULL,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    created_at INTEGER NOT NULL,
    blob       TEXT,                                -- its object's key, if it is not in `body`
    body       BLOB,                                -- the bytes, at most 64 KiB
    PRIMARY KEY (dag_run, task_id, map_index, key),
    CHECK ((blob IS NULL) <> (body IS NULL))
) STRICT, WITHOUT ROWID;

-- A file that a task instance's successful try left.
CREATE TABLE artifact (
    dag_run    INTEGER NOT NULL,                    -- dag_run.key
    task_id    TEXT    NOT NULL,
    map_index  INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    try_number INTEGER NOT NULL,                    -- the try that wrote it
    media_type TEXT    NOT NULL,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    sha256     BLOB    NOT NULL CHECK (length(sha256) = 32),
    created_at INTEGER NOT NULL,
    blob       TEXT    NOT NULL,                    -- its object's key
    PRIMARY KEY (dag_run, task_id, map_index, name)
) STRICT, WITHOUT ROWID;

-- Where a piece of a try's log is: an independent zstd frame inside an object that several tries share.
CREATE TABLE log_chunk (
    dag_run    INTEGER NOT NULL,                    -- dag_run.key
    task_id    TEXT    NOT NULL,
    map_index  INTEGER NOT NULL,
    try_number INTEGER NOT NULL,
    seq        INTEGER NOT NULL CHECK (seq >= 0),   -- from 0, without gaps
    offset_bytes INTEGER NOT NULL CHECK (offset_bytes >= 0), -- where in the object the frame starts
    length_bytes INTEGER NOT NULL CHECK (length_bytes > 0),
    lines      INTEGER NOT NULL CHECK (lines >= 0),
    created_at INTEGER NOT NULL,
    blob       TEXT    NOT NULL,                    -- the object's key
    PRIMARY KEY (dag_run, task_id, map_index, try_number, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX log_chunk_by_blob ON log_chunk (blob);

-- Keys of objects that no row names any more, to be deleted from object storage. Filled by the triggers below, in the
-- transaction that took the last row away, so that no crash leaves an object that nobody knows of.
CREATE TABLE garbage (
    key  INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    blob TEXT    NOT NULL UNIQUE
) STRICT;
CREATE TRIGGER xcom_deleted AFTER DELETE ON xcom WHEN old.blob IS NOT NULL
BEGIN INSERT INTO garbage (blob) VALUES (old.blob) ON CONFLICT DO NOTHING; END;
CREATE TRIGGER xcom_replaced AFTER UPDATE OF blob ON xcom WHEN old.blob IS NOT NULL AND old.blob IS NOT new.blob
BEGIN INSERT INTO garbage (blob) VALUES (old.blob) ON CONFLICT DO NOTHING; END;
CREATE TRIGGER artifact_deleted AFTER DELETE ON artifact
BEGIN INSERT INTO garbage (blob) VALUES (old.blob) ON CONFLICT DO NOTHING; END;
CREATE TRIGGER artifact_replaced AFTER UPDATE OF blob ON artifact WHEN old.blob <> new.blob
BEGIN INSERT INTO garbage (blob) VALUES (old.blob) ON CONFLICT DO NOTHING; END;
CREATE TRIGGER log_chunk_deleted AFTER DELETE ON log_chunk
WHEN NOT EXISTS (SELECT 1 FROM log_chunk WHERE blob = old.blob)
BEGIN INSERT INTO garbage (blob) VALUES (old.blob) ON CONFLICT DO NOTHING; END;

-- Slots that limit how many task instances run at a time.
CREATE TABLE pool (
    name             TEXT    NOT NULL PRIMARY KEY,
    slots            INTEGER NOT NULL CHECK (slots >= -1),                -- -1: unlimited
    include_deferred INTEGER NOT NULL CHECK (include_deferred IN (0, 1)), -- 1: waiting (rescheduled) instances hold slots too
    description      TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO pool (name, slots, include_deferred, description) VALUES ('default_pool', 128, 0, 'Default pool');

-- A named value that dags may be granted.
CREATE TABLE variable (
    key         TEXT    NOT NULL PRIMARY KEY,
    sealed      BLOB    NOT NULL,                   -- the value, encrypted by the room `secrets`
    description TEXT,
    updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How to reach another system.
CREATE TABLE connection (
    id              TEXT    NOT NULL PRIMARY KEY,
    conn_type       TEXT    NOT NULL,
    description     TEXT,
    host            TEXT,
    schema          TEXT,
    login           TEXT,
    port            INTEGER CHECK (port BETWEEN 0 AND 65535),
    sealed_password BLOB,                           -- encrypted by the room `secrets`
    sealed_extra    BLOB,                           -- encrypted by the room `secrets`
    updated_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who may sign in. Named so because `user` is a reserved word.
CREATE TABLE airlock_user (
    username      TEXT    NOT NULL PRIMARY KEY,
    password_hash TEXT    NOT NULL,                 -- an argon2 PHC string
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A session of the page or a bearer token of the API.
CREATE TABLE session (
    secret_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(secret_hash) = 32), -- SHA-256 of the secret, which is not stored
    username    TEXT    NOT NULL REFERENCES airlock_user (username) ON DELETE CASCADE,
    kind        TEXT    NOT NULL CHECK (kind IN ('cookie', 'bearer')),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_user ON session (username);
CREATE INDEX session_by_expires_at ON session (expires_at);

-- What the installation must remember about itself, as the check value of its secret key.
CREATE TABLE setting (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Never holds a row: an INSERT into it fails a batch whose UPDATE did not find all its rows.
CREATE TABLE commit_guard (
    missing_rows INTEGER NOT NULL CONSTRAINT rows_are_there CHECK (missing_rows = 0)
) STRICT;

-- What the planner is to believe about a database that has been in use for long: a dag has many runs, a run has many
-- instances, few of anything are unfinished or failed. Written here once instead of measured, so that plans are the same
-- on every installation and in the tests. Numbers: rows, then rows that are equal in the first column, in the first two...
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('dag_run', 'dag_run_by_run_id', '100000 1000 1'),
    ('dag_run', 'dag_run_by_logical_date', '100000 1000 1'),
    ('dag_run', 'dag_run_by_dag', '100000 1000'),
    ('dag_run', 'dag_run_by_dag_run_after', '100000 1000 1'),
    ('dag_run', 'dag_run_by_dag_start_date', '100000 1000 1'),
    ('dag_run', 'dag_run_by_dag_end_date', '100000 1000 1'),
    ('dag_run', 'dag_run_by_run_after', '100000 2'),
    ('dag_run', 'dag_run_by_any_logical_date', '100000 10'),
    ('dag_run', 'dag_run_by_start_date', '100000 1'),
    ('dag_run', 'dag_run_by_end_date', '100000 1'),
    ('dag_run', 'dag_run_by_version', '100000 100'),
    ('dag_run', 'dag_run_unfinished', '100 10 1 1'),
    ('dag_run', 'dag_run_failed', '1000 10 1'),
    ('task_instance', 'task_instance', '10000000 100 2 1'),
    ('task_instance', 'task_instance_active', '1000 10 2 1 1'),
    ('task_instance', 'task_instance_unsuccessful', '100000 10 2 1 1'),
    ('xcom', 'xcom', '10000000 100 2 1 1');
