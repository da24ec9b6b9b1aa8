-- The timeline, which is another one from a promotion on, and the database; where commits are not waited for, the last crash of the
-- server, too, with which its figures begin anew.
SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || ' ' || oid
    || CASE WHEN current_setting('synchronous_commit') = 'off' THEN concat(' ', pg_stat_get_bgwriter_stat_reset_time()) ELSE '' END
FROM pg_database WHERE datname = current_database()
