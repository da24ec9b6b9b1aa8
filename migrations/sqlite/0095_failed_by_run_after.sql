-- For the calendar: the failed runs of a day, however many others there are.
CREATE INDEX dag_run_failed_by_run_after ON dag_run (dag_id, run_after) WHERE state = 'failed';
