INSERT INTO dag_favorite (username, dag_id)
SELECT u.username, d.dag_id FROM airlock_user AS u CROSS JOIN dag AS d WHERE u.username = $1 AND d.dag_id = $2
ON CONFLICT DO NOTHING
