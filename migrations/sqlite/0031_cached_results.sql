-- What tasks with `cache` returned lately, by all that it depends on. The XComs and artifacts themselves are those of an instance;
-- a row is gone before they are.
CREATE TABLE cached_result (
    key          BLOB    NOT NULL PRIMARY KEY CHECK (length(key) = 32), -- SHA-256 of component, entry, inputs and grants
    dag_run      INTEGER NOT NULL,                 -- the instance that has the XComs and artifacts: that which made or took them last
    task_id      TEXT    NOT NULL,
    map_index    INTEGER NOT NULL,
    try_number   INTEGER NOT NULL,
    dag_id       TEXT    NOT NULL,                 -- the run that made them; it may be deleted
    run_id       TEXT    NOT NULL,
    made_at      INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,                 -- it may be deleted from then on
    asset_extras TEXT                              -- what the events of outlets carry: a JSON object by asset; none: nothing
) STRICT, WITHOUT ROWID;
CREATE INDEX cached_result_by_instance ON cached_result (dag_run, task_id, map_index);
CREATE INDEX cached_result_by_expires_at ON cached_result (expires_at);
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('cached_result', 'cached_result', '10000 1'),
    ('cached_result', 'cached_result_by_instance', '10000 10 2 1'),
    ('cached_result', 'cached_result_by_expires_at', '10000 1');
