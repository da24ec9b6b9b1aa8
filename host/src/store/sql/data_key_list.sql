SELECT id, wrapped, created_at, retired_at FROM data_key ORDER BY retired_at IS NOT NULL, created_at DESC, id
