-- Tasks that wait for runs of other dags, and runs that tasks started.

-- More sorts of runs: the CHECK of `dag_run.run_type` names all of Airflow's DagRunType. A table is rebuilt for a change of a
-- CHECK, or, as the rows stay valid, its text is replaced: https://sqlite.org/lang_altertable.html, section 7. `RESET` makes this
-- connection read the schema anew; others do so because the tables below are made in the same transaction.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql, '(run_type IN (''scheduled'', ''manual''))',
    '(run_type IN (''scheduled'', ''manual'', ''backfill'', ''asset_triggered'', ''asset_materialization'', ''operator_triggered''))')
WHERE type = 'table' AND name = 'dag_run';
PRAGMA writable_schema = RESET;

-- What a task instance in state up_for_reschedule waits for, if not only for its wake_at. Gone as soon as it is in another state.
CREATE TABLE wait (
    dag_run   INTEGER NOT NULL,                     -- dag_run.key
    task_id   TEXT    NOT NULL,
    map_index INTEGER NOT NULL,
    condition TEXT    NOT NULL,                     -- model::wait::Wait as JSON
    PRIMARY KEY (dag_run, task_id, map_index)
) STRICT, WITHOUT ROWID;

-- The task instance that started a dag_run. Airflow: TriggerDagRunOperator.
CREATE TABLE dag_run_origin (
    dag_run           INTEGER NOT NULL PRIMARY KEY, -- dag_run.key of the run that was started
    parent_run        INTEGER NOT NULL,             -- dag_run.key of the instance that started it; it may be deleted
    parent_task_id    TEXT    NOT NULL,
    parent_map_index  INTEGER NOT NULL,
    parent_try_number INTEGER NOT NULL,             -- the try that last started or restarted it
    depth             INTEGER NOT NULL CHECK (depth > 0) -- 1 if nobody started the parent's run so, else one more than that
) STRICT;
CREATE INDEX dag_run_origin_by_parent ON dag_run_origin (parent_run, dag_run);
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('dag_run_origin', 'dag_run_origin_by_parent', '100000 10 1');
