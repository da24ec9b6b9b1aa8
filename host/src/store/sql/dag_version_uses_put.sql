INSERT INTO dag_version_uses (version, component) VALUES ($1, $2)
