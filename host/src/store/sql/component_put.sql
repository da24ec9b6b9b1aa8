INSERT INTO component (digest, size_bytes, uploaded_at, uploaded_by, module, signer, dag_count, provenance)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (digest) DO UPDATE SET
    signer = coalesce(excluded.signer, component.signer),
    dag_count = excluded.dag_count,
    provenance = coalesce(excluded.provenance, component.provenance)
