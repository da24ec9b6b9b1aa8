SELECT v.key, v.dag_id, v.version_number, v.component, v.created_at FROM dag_version AS v WHERE TRUE
