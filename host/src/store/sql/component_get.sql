SELECT digest, size_bytes, uploaded_at, uploaded_by, module, signer FROM component WHERE digest = $1
