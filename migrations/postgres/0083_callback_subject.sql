-- A task may ask several questions in a try: those who are told of one are told of each.
ALTER TABLE callback ADD COLUMN subject TEXT COLLATE "C" NOT NULL DEFAULT ''; -- of a question: which; otherwise empty
DO $$
DECLARE
    old text;
BEGIN
    -- Both have names that PostgreSQL made.
    FOR old IN SELECT conname FROM pg_constraint
        WHERE conrelid = 'callback'::regclass AND (contype = 'u' OR pg_get_constraintdef(oid) LIKE '%deadline%')
    LOOP
        EXECUTE format('ALTER TABLE callback DROP CONSTRAINT %I', old);
    END LOOP;
END $$;
ALTER TABLE callback ADD CHECK (event IN ('success', 'failure', 'retry', 'skipped', 'deadline', 'question'));
ALTER TABLE callback ADD UNIQUE (dag_run, task_id, map_index, number, event, subject, target);
