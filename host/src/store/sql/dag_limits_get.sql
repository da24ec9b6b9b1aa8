SELECT memory_mib, cpu_seconds_per_day, log_mib_per_day, data_mib_per_day, network_mib_per_day, host_calls_per_day
FROM dag_limits WHERE dag_id = $1
