SELECT backfill FROM backfill_run WHERE dag_run = $1
