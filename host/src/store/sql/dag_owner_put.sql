INSERT INTO dag_owner (owner, dag_id) VALUES ($2, $1) ON CONFLICT DO NOTHING
