-- Secrets by which other systems may start runs of a dag.
CREATE TABLE webhook (
    dag_id     TEXT    NOT NULL PRIMARY KEY REFERENCES dag (dag_id) ON DELETE CASCADE,
    sealed     BLOB    NOT NULL,                    -- the secret, encrypted by the room `secrets`
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL                     -- who made the secret
) STRICT, WITHOUT ROWID;
