-- Whose signature the component came with, by the name that the settings give the key. NULL: nobody's that was asked for.
ALTER TABLE component ADD COLUMN signer TEXT COLLATE "C";
