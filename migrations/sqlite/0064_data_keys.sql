-- Keys that seal variables, connections and webhooks. Each is sealed by a master key, which is not stored.
CREATE TABLE data_key (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 8),
    wrapped    BLOB    NOT NULL,                    -- the key, encrypted by the room `secrets`
    created_at INTEGER NOT NULL,
    retired_at INTEGER                              -- since when another one seals; NULL: it is the one that seals
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX data_key_that_seals ON data_key (retired_at IS NULL) WHERE retired_at IS NULL;
