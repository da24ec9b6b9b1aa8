DELETE FROM dag_run_asset_event
WHERE dag_run = $1 AND event IN (SELECT event FROM dag_run_asset_event WHERE dag_run = $1 LIMIT $2)
RETURNING CAST(0 AS BIGINT)
