-- What the templates of a try became, for those tasks that have any. Airflow: RenderedTaskInstanceFields.
CREATE TABLE rendered_fields (
    dag_run    INTEGER NOT NULL,                    -- dag_run.key
    task_id    TEXT    NOT NULL,
    map_index  INTEGER NOT NULL,
    try_number INTEGER NOT NULL CHECK (try_number > 0),
    fields     TEXT    NOT NULL,                    -- a JSON object, inputs by name; secrets masked, long values cut
    PRIMARY KEY (dag_run, task_id, map_index, try_number)
) STRICT, WITHOUT ROWID;
-- What an instance of a mapped task is called, instead of its index.
ALTER TABLE task_instance ADD COLUMN rendered_map_index TEXT;
ALTER TABLE task_instance_history ADD COLUMN rendered_map_index TEXT;
