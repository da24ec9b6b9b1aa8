DELETE FROM asset_queue
WHERE dag_id = $1 AND asset NOT IN (SELECT asset FROM asset_reference WHERE dag_id = $1 AND kind = 'schedule')
