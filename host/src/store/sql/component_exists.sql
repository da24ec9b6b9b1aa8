SELECT size_bytes FROM component WHERE digest = $1
