SELECT content_hash, spec FROM dag_version WHERE key = $1
