-- How many dags a component brought. Those that were deleted since come back with the same bytes. NULL: nobody counted.
ALTER TABLE component ADD COLUMN dag_count INTEGER;
