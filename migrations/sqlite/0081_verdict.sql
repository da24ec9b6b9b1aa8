-- How a person ended a run that still runs its teardowns: success or failed. NULL: nobody did, or the run is over.
ALTER TABLE dag_run ADD COLUMN verdict TEXT CHECK (verdict IN ('success', 'failed'));
