INSERT INTO dag_usage (dag_id, day, cpu_us, log_bytes, data_bytes, network_bytes, host_calls)
SELECT d.dag_id, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM jsonb_each($1)
JOIN dag AS d ON d.dag_id = value ->> 0
WHERE true
ON CONFLICT (dag_id) DO UPDATE SET day = excluded.day, cpu_us = excluded.cpu_us, log_bytes = excluded.log_bytes,
    data_bytes = excluded.data_bytes, network_bytes = excluded.network_bytes, host_calls = excluded.host_calls
