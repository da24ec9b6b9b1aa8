SELECT digest, size_bytes, uploaded_at, uploaded_by, module FROM component WHERE digest = $1
