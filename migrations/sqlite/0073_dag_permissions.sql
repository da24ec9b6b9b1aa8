-- A role on some dags, besides that for all: [{"dags": "sales-*", "role": "author"}], NULL: none. And a role that sees no dags
-- but by these. The rows stay valid under the longer CHECK, so its text is replaced, as in 0010; the column makes other
-- connections read the schema anew.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql, '(role IN (''viewer'',', '(role IN (''member'', ''viewer'',')
WHERE type = 'table' AND name IN ('airlock_user', 'api_token');
PRAGMA writable_schema = RESET;
ALTER TABLE airlock_user ADD COLUMN dag_permissions TEXT;
