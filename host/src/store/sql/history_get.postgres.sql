-- The timeline, which is another one from a promotion on, and the database.
SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || ' ' || oid FROM pg_database WHERE datname = current_database()
