SELECT DISTINCT q.dag_id, a.name FROM asset_queue AS q JOIN asset AS a ON a.id = q.asset
