-- What a program signs in with. The secret itself is not stored.
CREATE TABLE api_token (
    id           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    secret_hash  BLOB    NOT NULL UNIQUE CHECK (length(secret_hash) = 32),             -- SHA-256 of the secret
    username     TEXT    NOT NULL REFERENCES airlock_user (username) ON DELETE CASCADE, -- in whose name it acts
    name         TEXT    NOT NULL,                                                     -- what the user calls it
    role         TEXT    NOT NULL CHECK (role IN ('viewer', 'author', 'operator', 'admin')), -- it may no more, nor more than the user
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,                                                     -- the user, or an admin
    expires_at   INTEGER NOT NULL CHECK (expires_at > created_at),
    last_used_at INTEGER,                                                              -- less than an hour before its last use; NULL: never used
    UNIQUE (username, name)
) STRICT;
CREATE INDEX api_token_by_expires_at ON api_token (expires_at);
