-- Part of a commit; parameters are those of store/commit.rs.
INSERT OR REPLACE INTO rendered_fields (dag_run, task_id, map_index, try_number, fields)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM jsonb_each($31);
