-- Where the component comes from, by its own words, packed as `module`. NULL: nobody read it.
ALTER TABLE component ADD COLUMN provenance BYTEA;
