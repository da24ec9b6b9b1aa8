SELECT day, cpu_us, log_bytes, data_bytes, network_bytes, host_calls FROM dag_usage WHERE dag_id = $1
