-- Why Airlock itself paused the dag; none: a person did, or it is not paused.
ALTER TABLE dag ADD COLUMN pause_reason TEXT;
