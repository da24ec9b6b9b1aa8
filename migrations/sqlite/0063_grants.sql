-- What admins decided about what dags ask to reach.
CREATE TABLE dag_grant (
    dag_id      TEXT    NOT NULL REFERENCES dag (dag_id) ON DELETE CASCADE,
    request     TEXT    NOT NULL,                                       -- as `http:api.example.org:8443`
    is_approved INTEGER NOT NULL CHECK (is_approved IN (0, 1)),         -- 0: revoked
    decided_at  INTEGER NOT NULL,
    decided_by  TEXT    NOT NULL,
    PRIMARY KEY (dag_id, request)
) STRICT, WITHOUT ROWID;
-- Which of a dag's requests wait for an admin. NULL: as the server's setting says.
ALTER TABLE dag ADD COLUMN grants_policy TEXT;
