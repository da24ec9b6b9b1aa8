INSERT INTO component (digest, size_bytes, uploaded_at, uploaded_by, module, signer)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (digest) DO UPDATE SET signer = coalesce(excluded.signer, component.signer)
