SELECT provenance FROM component WHERE digest = $1 AND provenance IS NOT NULL
