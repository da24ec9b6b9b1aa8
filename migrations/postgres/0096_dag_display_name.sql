-- What people call the dag, as its spec has it; its id, if that says nothing. NULL: nobody read it from there. The scheduler does, of
-- the newest versions, when it starts.
ALTER TABLE dag_version ADD COLUMN display_name TEXT COLLATE "C";
