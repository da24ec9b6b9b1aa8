-- SQLite's indexes end with the row's key and have NULL first; here both are said. For a dag's runs as they were made, its last one among
-- them, and for the audit log by user.
DROP INDEX dag_run_by_dag;
CREATE INDEX dag_run_by_dag ON dag_run (dag_id, key);
DROP INDEX event_log_by_username;
CREATE INDEX event_log_by_username ON event_log (username NULLS FIRST, id);
