INSERT INTO component (digest, size_bytes, uploaded_at, uploaded_by, module)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (digest) DO NOTHING
