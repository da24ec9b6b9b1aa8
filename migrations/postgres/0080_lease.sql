-- Several processes on one database: one of them schedules, and writes what follows from it.

-- Who leads, until when by this database's clock. SQLite has no such table: its file is locked by the one process that there is.
CREATE TABLE lease (
    name       TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- what is led: `scheduler`
    holder     TEXT COLLATE "C" NOT NULL,             -- the process
    url        TEXT COLLATE "C" NOT NULL,             -- where the other processes reach it
    epoch      BIGINT NOT NULL CHECK (epoch > 0),     -- one more with each holder
    expires_at BIGINT NOT NULL                        -- 0: it was given back
);

-- The present instant in microseconds.
CREATE FUNCTION airlock_now() RETURNS BIGINT LANGUAGE sql VOLATILE
AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- Fails the transaction unless `led` is still the epoch. Whoever takes the lease over waits for transactions that came so far, and
-- all that come later fail: a process that was stopped, or cut off, and comes back changes nothing.
CREATE FUNCTION airlock_fence(led BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    -- "airlock" in ASCII. Shared: transactions of one holder don't wait for each other.
    PERFORM pg_advisory_xact_lock_shared(27419012907361131);
    IF NOT EXISTS (SELECT 1 FROM lease WHERE name = 'scheduler' AND epoch = led) THEN
        RAISE EXCEPTION 'another process leads' USING ERRCODE = 'check_violation', CONSTRAINT = 'scheduler_leads';
    END IF;
END $$;
