SELECT c.digest, c.size_bytes, c.uploaded_at, c.uploaded_by, c.module, c.signer, c.dag_count
FROM library AS l
JOIN component AS c ON c.digest = l.component
WHERE l.name = $1
