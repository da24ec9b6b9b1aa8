DELETE FROM airlock_user
WHERE username = $1
  AND EXISTS (SELECT 1 FROM airlock_user AS other WHERE other.role = 'admin' AND other.username <> $1 FOR UPDATE)
