-- Finished runs in the order of their ends, and whether something needs them: a callback that is to be delivered; the run that
-- started it, which may ask for it again; the backfill that it is counted for; the run after it, which looks back at it.
SELECT r.key, r.run_id, r.logical_date, r.end_date,
    EXISTS (SELECT 1 FROM callback AS c WHERE c.dag_run = r.key AND c.state = 'pending')
    OR EXISTS (
        SELECT 1 FROM dag_run_origin AS o JOIN dag_run AS parent ON parent.key = o.parent_run
        WHERE o.dag_run = r.key AND parent.state IN ('queued', 'running')
    )
    OR EXISTS (
        SELECT 1 FROM backfill_run AS b JOIN backfill AS f ON f.id = b.backfill
        WHERE b.dag_run = r.key AND f.completed_at IS NULL
    )
    OR (r.logical_date IS NOT NULL AND NOT (
        coalesce((
            SELECT after.state IN ('success', 'failed') FROM dag_run AS after
            WHERE after.dag_id = r.dag_id AND after.logical_date > r.logical_date
            ORDER BY after.logical_date NULLS FIRST
            LIMIT 1
        ), FALSE)
        AND (r.run_type = 'manual' OR coalesce((
            SELECT after.state IN ('success', 'failed') FROM dag_run AS after
            WHERE after.dag_id = r.dag_id AND after.logical_date > r.logical_date AND after.run_type <> 'manual'
            ORDER BY after.logical_date NULLS FIRST
            LIMIT 1
        ), FALSE))
    )) AS is_held
FROM dag_run AS r
WHERE r.dag_id = $1 AND r.end_date IS NOT NULL AND r.state IN ('success', 'failed')
    AND (r.end_date, r.key) > ($2, $3) AND (r.end_date, r.key) <= ($4, $5)
ORDER BY r.end_date NULLS FIRST, r.key
LIMIT $6
