-- Part of a commit; parameters are those of store/commit.rs.
INSERT INTO approval (dag_run, task_id, map_index, try_number, subject, question, created_at, waiting)
SELECT i.dag_run, i.task_id, i.map_index, i.try_number, e.value ->> 3, e.value ->> 4, $1, 1
FROM jsonb_array_elements($25::jsonb) AS e
JOIN task_instance AS i
ON i.dag_run = (e.value ->> 0)::bigint AND i.task_id = e.value ->> 1 AND i.map_index = (e.value ->> 2)::bigint
ON CONFLICT (dag_run, task_id, map_index, try_number, subject) DO UPDATE SET waiting = 1, question = excluded.question
WHERE approval.answer IS NULL;
