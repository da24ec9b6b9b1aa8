SELECT EXISTS (
    SELECT 1 FROM dag_run AS r JOIN dag_data_deleted AS d ON d.dag_id = r.dag_id
    WHERE r.key = $1 AND (r.end_date, r.key) <= (d.end_date, d.dag_run)
)
