SELECT digest, size_bytes, uploaded_at, uploaded_by, module, signer, dag_count
FROM component
WHERE digest > $1
ORDER BY digest
LIMIT $2
