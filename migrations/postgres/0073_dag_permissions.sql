-- A role on some dags, besides that for all: [{"dags": "sales-*", "role": "author"}], NULL: none. And a role that sees no dags
-- but by these.
ALTER TABLE airlock_user DROP CONSTRAINT airlock_user_role_check,
    ADD CONSTRAINT airlock_user_role_check CHECK (role IN ('member', 'viewer', 'author', 'operator', 'admin')),
    ADD COLUMN dag_permissions TEXT COLLATE "C";
ALTER TABLE api_token DROP CONSTRAINT api_token_role_check,
    ADD CONSTRAINT api_token_role_check CHECK (role IN ('member', 'viewer', 'author', 'operator', 'admin'));
