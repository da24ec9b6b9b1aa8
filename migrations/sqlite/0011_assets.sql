-- Assets: what tasks make and other dags run after.

-- A name that dags agree on. It stays when no dag names it any more: its events are history.
CREATE TABLE asset (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL UNIQUE,
    uri         TEXT    NOT NULL,             -- as the dag said that was uploaded last
    asset_group TEXT    NOT NULL,
    extra       TEXT    NOT NULL,             -- a JSON object
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

-- Where the newest versions of dags name an asset.
CREATE TABLE asset_reference (
    asset      INTEGER NOT NULL REFERENCES asset (id),
    dag_id     TEXT    NOT NULL REFERENCES dag (dag_id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL CHECK (kind IN ('schedule', 'outlet', 'inlet')),
    task_id    TEXT    NOT NULL,              -- empty for a schedule
    created_at INTEGER NOT NULL,
    PRIMARY KEY (asset, dag_id, kind, task_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX asset_reference_by_dag ON asset_reference (dag_id, kind);

-- An asset was updated.
CREATE TABLE asset_event (
    key              INTEGER NOT NULL PRIMARY KEY, -- given by the scheduler, grows with time, never reused
    asset            INTEGER NOT NULL REFERENCES asset (id),
    timestamp        INTEGER NOT NULL,
    extra            TEXT    NOT NULL,        -- a JSON object
    source_dag_id    TEXT,                    -- the task instance that made it; none: somebody did by hand
    source_run_id    TEXT,
    source_task_id   TEXT,
    source_map_index INTEGER NOT NULL,
    created_by       TEXT                     -- who made it by hand
) STRICT;
CREATE INDEX asset_event_by_asset ON asset_event (asset, key);
CREATE INDEX asset_event_by_source ON asset_event (source_dag_id, source_run_id, source_task_id);

-- Events that a dag that is scheduled on the asset has not consumed.
CREATE TABLE asset_queue (
    dag_id     TEXT    NOT NULL REFERENCES dag (dag_id) ON DELETE CASCADE,
    asset      INTEGER NOT NULL REFERENCES asset (id),
    event      INTEGER NOT NULL REFERENCES asset_event (key),
    PRIMARY KEY (dag_id, asset, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX asset_queue_by_asset ON asset_queue (asset);
CREATE INDEX asset_queue_by_event ON asset_queue (event);

-- The events that a run consumed.
CREATE TABLE dag_run_asset_event (
    dag_run INTEGER NOT NULL,                 -- dag_run.key
    event   INTEGER NOT NULL REFERENCES asset_event (key),
    PRIMARY KEY (dag_run, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX dag_run_asset_event_by_event ON dag_run_asset_event (event);

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('asset_event', 'asset_event_by_asset', '100000 1000 1'),
    ('asset_event', 'asset_event_by_source', '100000 1000 2 1'),
    ('dag_run_asset_event', 'dag_run_asset_event_by_event', '100000 2');
