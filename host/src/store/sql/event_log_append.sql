INSERT INTO event_log (at, event, is_denied, username, token, peer, route, dag_id, run_id, task_id, map_index, object, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
