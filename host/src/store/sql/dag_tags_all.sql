SELECT d.dag_id, t.tag FROM dag AS d LEFT JOIN dag_tag AS t ON t.dag_id = d.dag_id ORDER BY d.dag_id
