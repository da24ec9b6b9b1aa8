INSERT INTO asset (name, uri, asset_group, extra, is_alias, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6)
ON CONFLICT (name) DO UPDATE SET uri = excluded.uri, asset_group = excluded.asset_group, extra = excluded.extra,
    is_alias = excluded.is_alias, updated_at = excluded.updated_at
