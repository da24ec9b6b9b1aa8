-- Runs of a dag's past intervals, made by a person's order.
CREATE TABLE backfill (
    id                  INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    dag_id              TEXT    NOT NULL,
    from_date           INTEGER NOT NULL,                  -- no logical_date before it
    to_date             INTEGER NOT NULL,                  -- no logical_date after it
    run_backwards       INTEGER NOT NULL CHECK (run_backwards IN (0, 1)), -- 1: the newest first
    max_active_runs     INTEGER NOT NULL CHECK (max_active_runs > 0), -- its runs that are not finished at a time
    reprocess_behavior  TEXT    NOT NULL CHECK (reprocess_behavior IN ('none', 'failed', 'completed')),
    dag_run_conf        TEXT    NOT NULL,                  -- a JSON object
    total               INTEGER NOT NULL CHECK (total > 0), -- intervals when it was made
    dealt_with          INTEGER NOT NULL DEFAULT 0,        -- intervals that were looked at
    skipped             INTEGER NOT NULL DEFAULT 0,        -- of those: their runs were there and stay as they are
    last_date           INTEGER,                           -- logical_date of the last interval that was looked at
    is_paused           INTEGER NOT NULL DEFAULT 0 CHECK (is_paused IN (0, 1)),
    triggering_user     TEXT,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    completed_at        INTEGER                            -- all of it is done, or it was cancelled
) STRICT;
CREATE INDEX backfill_unfinished ON backfill (id) WHERE completed_at IS NULL;
CREATE INDEX backfill_by_dag ON backfill (dag_id, id);

-- The runs that a backfill made or ran again; of one that several did, the last.
CREATE TABLE backfill_run (
    dag_run  INTEGER NOT NULL PRIMARY KEY,                 -- dag_run.key
    backfill INTEGER NOT NULL
) STRICT;
CREATE INDEX backfill_run_by_backfill ON backfill_run (backfill, dag_run);
CREATE TRIGGER backfill_run_deleted AFTER DELETE ON dag_run
BEGIN DELETE FROM backfill_run WHERE dag_run = old.key; END;
CREATE TRIGGER backfill_deleted AFTER DELETE ON dag
BEGIN DELETE FROM backfill WHERE dag_id = old.dag_id; END;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('backfill', 'backfill_by_dag', '1000 10 1'),
    ('backfill', 'backfill_unfinished', '10 1'),
    ('backfill_run', 'backfill_run_by_backfill', '10000 100 1');
