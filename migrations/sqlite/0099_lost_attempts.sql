-- Attempts that were in flight when their server died: what they may have left in object storage, where no row names it, is to be
-- collected.
CREATE TABLE lost_attempt (
    dag_run    INTEGER NOT NULL, -- dag_run.key; the run may be gone
    task_id    TEXT    NOT NULL,
    map_index  INTEGER NOT NULL,
    try_number INTEGER NOT NULL,
    restarts   INTEGER NOT NULL, -- as task_instance had it
    lost_at    INTEGER NOT NULL, -- when that was known
    PRIMARY KEY (dag_run, task_id, map_index, try_number, restarts)
) STRICT, WITHOUT ROWID;
