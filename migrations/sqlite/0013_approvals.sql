-- Questions that tasks ask people, and the answers. Airflow: HITLDetail.
CREATE TABLE approval (
    dag_run    INTEGER NOT NULL,                    -- dag_run.key
    task_id    TEXT    NOT NULL,
    map_index  INTEGER NOT NULL,
    try_number INTEGER NOT NULL CHECK (try_number > 0), -- the try that asks
    subject    TEXT    NOT NULL,                    -- names the question within the try
    question   TEXT    NOT NULL,                    -- model::approval::Question as JSON
    created_at INTEGER NOT NULL,                    -- when it was first asked
    waiting    INTEGER NOT NULL CHECK (waiting IN (0, 1)), -- whether the task instance waits for the answer
    answer     TEXT,                                -- model::approval::Answer as JSON; never changed once it is there
    PRIMARY KEY (dag_run, task_id, map_index, try_number, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX approval_waiting ON approval (created_at) WHERE waiting = 1;
