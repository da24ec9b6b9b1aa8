-- Attempts that were in flight when their server died: what they may have left in object storage, where no row names it, is to be
-- collected.
CREATE TABLE lost_attempt (
    dag_run    BIGINT NOT NULL, -- dag_run.key; the run may be gone
    task_id    TEXT COLLATE "C" NOT NULL,
    map_index  BIGINT NOT NULL,
    try_number BIGINT NOT NULL,
    restarts   BIGINT NOT NULL, -- as task_instance had it
    lost_at    BIGINT NOT NULL, -- when that was known
    PRIMARY KEY (dag_run, task_id, map_index, try_number, restarts)
);
