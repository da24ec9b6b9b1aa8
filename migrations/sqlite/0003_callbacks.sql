-- Who is told when a run or a task instance comes to a state. Written in the transaction that brings it there, delivered
-- afterwards, at least once.
CREATE TABLE callback (
    key        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    dag_run    INTEGER NOT NULL,                    -- dag_run.key
    task_id    TEXT    NOT NULL,                    -- empty: about the run itself
    map_index  INTEGER NOT NULL,
    number     INTEGER NOT NULL,                    -- the try; of a run, its clear_number
    event      TEXT    NOT NULL CHECK (event IN ('success', 'failure', 'retry', 'skipped', 'deadline')),
    connection TEXT    NOT NULL,                    -- the connection by which it is told
    message    TEXT,                                -- why, for people; secrets masked
    created_at INTEGER NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts   INTEGER NOT NULL CHECK (attempts >= 0),
    due_at     INTEGER NOT NULL,                    -- when it is delivered, at the earliest
    error      TEXT,                                -- why the last attempt failed
    UNIQUE (dag_run, task_id, map_index, number, event, connection)
) STRICT;
CREATE INDEX callback_pending ON callback (due_at) WHERE state = 'pending';
