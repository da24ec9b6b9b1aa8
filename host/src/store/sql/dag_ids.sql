SELECT d.dag_id FROM dag AS d JOIN dag_version AS v ON v.key = d.version WHERE TRUE
