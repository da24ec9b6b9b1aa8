DELETE FROM asset_reference WHERE dag_id = $1
