-- What a user may do. Whoever was a user before there were roles could do everything.
ALTER TABLE airlock_user ADD COLUMN role TEXT NOT NULL DEFAULT 'admin'
    CHECK (role IN ('viewer', 'author', 'operator', 'admin'));
