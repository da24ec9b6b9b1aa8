DELETE FROM component AS c
WHERE c.digest = $1
    AND NOT EXISTS (SELECT 1 FROM dag_version WHERE component = c.digest)
    AND NOT EXISTS (SELECT 1 FROM dag_version_uses WHERE component = c.digest)
    AND NOT EXISTS (SELECT 1 FROM library WHERE component = c.digest)
