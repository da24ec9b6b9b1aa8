SELECT c.digest, c.size_bytes, c.uploaded_at, c.uploaded_by, c.module, c.signer, c.dag_count
FROM component AS c
WHERE TRUE
