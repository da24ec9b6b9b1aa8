-- Where the try ran last: a worker's name, or that of the server's own machine. NULL: it did not run, or nobody knows yet. Airflow: hostname.
ALTER TABLE task_instance ADD COLUMN hostname TEXT COLLATE "C";
ALTER TABLE task_instance_history ADD COLUMN hostname TEXT COLLATE "C";
