-- Versions in the order in which they were made, and whether nothing needs them: another is the newest since before $2, or $3
-- others are newer (0: however many), and no run was made with them.
SELECT v.key,
    (
        EXISTS (
            SELECT 1 FROM dag_version AS later
            WHERE later.dag_id = v.dag_id AND later.version_number > v.version_number AND later.created_at < $2
        )
        OR ($3 > 0 AND v.version_number <= (SELECT max(version_number) FROM dag_version WHERE dag_id = v.dag_id) - $3)
    )
    AND NOT EXISTS (SELECT 1 FROM dag WHERE dag_id = v.dag_id AND version = v.key)
    AND NOT EXISTS (SELECT 1 FROM dag_run WHERE version = v.key) AS is_unused
FROM dag_version AS v
WHERE v.key > $1
ORDER BY v.key
LIMIT $4
