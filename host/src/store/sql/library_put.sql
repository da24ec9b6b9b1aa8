INSERT INTO library (name, component)
VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET component = excluded.component
