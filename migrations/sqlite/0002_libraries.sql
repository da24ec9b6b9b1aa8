-- Dags whose tasks are entries of other components than the one that they came with.

-- Which component a name means: of those that were uploaded with it, the last.
CREATE TABLE library (
    name      TEXT NOT NULL PRIMARY KEY,                -- as its module says
    component BLOB NOT NULL REFERENCES component (digest)
) STRICT, WITHOUT ROWID;

-- Which other components a dag_version's tasks execute.
CREATE TABLE dag_version_uses (
    version   INTEGER NOT NULL REFERENCES dag_version (key) ON DELETE CASCADE,
    component BLOB    NOT NULL REFERENCES component (digest),
    PRIMARY KEY (version, component)
) STRICT, WITHOUT ROWID;
CREATE INDEX dag_version_uses_by_component ON dag_version_uses (component);
