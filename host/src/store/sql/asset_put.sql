INSERT INTO asset (name, uri, asset_group, extra, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT (name) DO UPDATE SET uri = excluded.uri, asset_group = excluded.asset_group, extra = excluded.extra,
    updated_at = excluded.updated_at
