-- A task may ask several questions in a try: those who are told of one are told of each. SQLite changes no CHECK and no UNIQUE in place.
CREATE TABLE callback_new (
    key        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    dag_run    INTEGER NOT NULL,                    -- dag_run.key
    task_id    TEXT    NOT NULL,                    -- empty: about the run itself
    map_index  INTEGER NOT NULL,
    number     INTEGER NOT NULL,                    -- the try; of a run, its clear_number
    event      TEXT    NOT NULL CHECK (event IN ('success', 'failure', 'retry', 'skipped', 'deadline', 'question')),
    target     TEXT    NOT NULL,                    -- the connection by which it is told, or `dag:<dag_id>`
    message    TEXT,                                -- why, for people; secrets masked
    created_at INTEGER NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts   INTEGER NOT NULL CHECK (attempts >= 0),
    due_at     INTEGER NOT NULL,                    -- when it is delivered, at the earliest
    error      TEXT,                                -- why the last attempt failed
    subject    TEXT    NOT NULL DEFAULT '',         -- of a question: which; otherwise empty
    UNIQUE (dag_run, task_id, map_index, number, event, subject, target)
) STRICT;
INSERT INTO callback_new (key, dag_run, task_id, map_index, number, event, target, message, created_at, state, attempts, due_at, error)
SELECT key, dag_run, task_id, map_index, number, event, target, message, created_at, state, attempts, due_at, error FROM callback;
DROP TABLE callback;
ALTER TABLE callback_new RENAME TO callback;
CREATE INDEX callback_pending ON callback (due_at) WHERE state = 'pending';
