-- What all attempts of one dag may have together.

-- What is said of one dag. NULL: what the server's settings say; 0: as much as there is.
CREATE TABLE dag_limits (
    dag_id              TEXT    NOT NULL PRIMARY KEY REFERENCES dag (dag_id) ON DELETE CASCADE,
    memory_mib          INTEGER CHECK (memory_mib >= 0),          -- of attempts that run at a time
    cpu_seconds_per_day INTEGER CHECK (cpu_seconds_per_day >= 0),
    log_mib_per_day     INTEGER CHECK (log_mib_per_day >= 0),
    data_mib_per_day    INTEGER CHECK (data_mib_per_day >= 0),    -- of artifacts and XComs
    network_mib_per_day INTEGER CHECK (network_mib_per_day >= 0), -- sent and received
    host_calls_per_day  INTEGER CHECK (host_calls_per_day >= 0)
) STRICT, WITHOUT ROWID;

-- What attempts of a dag with such limits had on the last day on which they had something.
CREATE TABLE dag_usage (
    dag_id        TEXT    NOT NULL PRIMARY KEY REFERENCES dag (dag_id) ON DELETE CASCADE,
    day           INTEGER NOT NULL,                 -- days since 1970, UTC
    cpu_us        INTEGER NOT NULL,
    log_bytes     INTEGER NOT NULL,
    data_bytes    INTEGER NOT NULL,
    network_bytes INTEGER NOT NULL,
    host_calls    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
