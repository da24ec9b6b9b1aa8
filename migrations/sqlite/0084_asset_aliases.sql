-- Whether it stands for assets that tasks name when they run, as the dag said that was uploaded last.
ALTER TABLE asset ADD COLUMN is_alias INTEGER NOT NULL DEFAULT 0;

-- asset.id of the alias through which the asset was updated.
ALTER TABLE asset_event ADD COLUMN alias INTEGER;
CREATE INDEX asset_event_by_alias ON asset_event (alias, key) WHERE alias IS NOT NULL;
