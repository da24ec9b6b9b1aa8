INSERT INTO dag_limits (dag_id, memory_mib, cpu_seconds_per_day, log_mib_per_day, data_mib_per_day, network_mib_per_day, host_calls_per_day)
SELECT dag_id, $2, $3, $4, $5, $6, $7 FROM dag WHERE dag_id = $1
ON CONFLICT (dag_id) DO UPDATE SET memory_mib = excluded.memory_mib, cpu_seconds_per_day = excluded.cpu_seconds_per_day,
    log_mib_per_day = excluded.log_mib_per_day, data_mib_per_day = excluded.data_mib_per_day,
    network_mib_per_day = excluded.network_mib_per_day, host_calls_per_day = excluded.host_calls_per_day
