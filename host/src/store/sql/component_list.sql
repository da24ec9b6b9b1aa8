SELECT digest, size_bytes, uploaded_at, uploaded_by, module
FROM component
ORDER BY uploaded_at DESC, digest
LIMIT $1 OFFSET $2
