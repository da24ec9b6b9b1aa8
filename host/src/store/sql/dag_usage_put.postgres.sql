INSERT INTO dag_usage (dag_id, day, cpu_us, log_bytes, data_bytes, network_bytes, host_calls)
SELECT d.dag_id, (value ->> 1)::bigint, (value ->> 2)::bigint, (value ->> 3)::bigint, (value ->> 4)::bigint, (value ->> 5)::bigint,
    (value ->> 6)::bigint
FROM jsonb_array_elements($1::jsonb)
JOIN dag AS d ON d.dag_id = value ->> 0
ON CONFLICT (dag_id) DO UPDATE SET day = excluded.day, cpu_us = excluded.cpu_us, log_bytes = excluded.log_bytes,
    data_bytes = excluded.data_bytes, network_bytes = excluded.network_bytes, host_calls = excluded.host_calls
