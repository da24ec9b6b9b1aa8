SELECT e.key FROM asset_event AS e WHERE TRUE
