UPDATE airlock_user SET role = $2, updated_at = $3
WHERE username = $1
  AND ($2 = 'admin' OR EXISTS (SELECT 1 FROM airlock_user AS other WHERE other.role = 'admin' AND other.username <> $1 FOR UPDATE))
