-- Retention: how long history is kept.

-- What is said of one dag. NULL: what the server's settings say; 0: for ever.
CREATE TABLE dag_retention (
    dag_id     TEXT    NOT NULL PRIMARY KEY REFERENCES dag (dag_id) ON DELETE CASCADE,
    runs_days  INTEGER CHECK (runs_days >= 0),      -- a run goes so many days after its end
    runs_count INTEGER CHECK (runs_count >= 0),     -- so many finished runs stay
    logs_days  INTEGER CHECK (logs_days >= 0)       -- logs and recordings go so many days after the end of their run
) STRICT, WITHOUT ROWID;

-- How far logs and recordings of a dag's runs were deleted, in the order in which the runs ended.
CREATE TABLE dag_logs_deleted (
    dag_id   TEXT    NOT NULL PRIMARY KEY REFERENCES dag (dag_id) ON DELETE CASCADE,
    end_date INTEGER NOT NULL,                      -- of the last run whose logs are gone
    dag_run  INTEGER NOT NULL                       -- its key
) STRICT, WITHOUT ROWID;

-- Deleted dag_runs whose rows in other tables are still there. A run is gone with its row in dag_run; the rest follows in steps
-- of bounded size. AUTOINCREMENT: the largest key is remembered, so that no new run gets the key of a deleted one.
CREATE TABLE dag_run_leftover (
    dag_run INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT -- dag_run.key
) STRICT;

CREATE INDEX library_by_component ON library (component);
