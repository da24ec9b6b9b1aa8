-- A callback is told by a connection, or, as `dag:<dag_id>`, by a run of that dag.
ALTER TABLE callback RENAME COLUMN connection TO target;
