//! What people set: variables, connections, pools, users and their sessions, and the installation's own settings.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ConnectionHead, ConnectionRow, Like, Listed, MAX_PAGE, Order, Page, PoolRow, PoolUse, Query, SessionRow, Store,
    StoreError, UserRow, VariableHead, VariableRow, dag_permission,
    db::{self, Builder, FromRow, Row, each, from_row},
    filter::{counting, push_count_end, push_like, push_page},
};
use crate::model::{
    dag_access::DagAccess,
    ids::{ConnectionId, PoolName, VariableKey},
    role::Role,
    sign_in::Identity,
    state::TaskState,
    time::Timestamp,
};

from_row!(VariableRow { key, sealed, description, updated_at });

from_row!(VariableHead { key, description, updated_at });

from_row!(ConnectionHead { id, conn_type, description, host, login, port, has_password });

from_row!(ConnectionRow {
    id,
    conn_type,
    description,
    host,
    schema,
    login,
    port,
    sealed_password,
    sealed_extra,
    updated_at
});

impl FromRow for UserRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        Ok(Self {
            username: row.try_get("username")?,
            password_hash: row.try_get("password_hash")?,
            role: row.try_get("role")?,
            dag_permissions: dag_permission::of_row(row)?,
            identity: match (row.try_get("issuer")?, row.try_get("subject")?) {
                (Some(issuer), Some(subject)) => Some(Identity { issuer, subject }),
                _ => None,
            },
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    }
}

impl FromRow for SessionRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let hash: Vec<u8> = row.try_get("secret_hash")?;
        Ok(Self {
            secret_hash: hash.as_slice().try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            username: row.try_get("username")?,
            kind: row.try_get("kind")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
        })
    }
}

from_row!(PoolRow { name, slots, description, include_deferred });

impl VariableRow {
    /// Stores it, or replaces that of the same name.
    pub(super) fn put(&self) -> Query {
        self.bound(include_str!("sql/variable_put.sql"))
    }

    /// Its columns, as both statements that store it take them.
    fn bound(&self, statement: &'static str) -> Query {
        db::query(statement).bind(&self.key).bind(&self.sealed).bind(&self.description).bind(self.updated_at)
    }
}

impl ConnectionRow {
    /// Stores it, or replaces that of the same name.
    pub(super) fn put(&self) -> Query {
        self.bound(include_str!("sql/connection_put.sql"))
    }

    /// Its columns, as both statements that store it take them.
    fn bound(&self, statement: &'static str) -> Query {
        db::query(statement)
            .bind(&self.id)
            .bind(&self.conn_type)
            .bind(&self.description)
            .bind(&self.host)
            .bind(&self.schema)
            .bind(&self.login)
            .bind(self.port)
            .bind(&self.sealed_password)
            .bind(&self.sealed_extra)
            .bind(self.updated_at)
    }
}

impl PoolRow {
    /// Stores it, or replaces that of the same name.
    pub(super) fn put(&self) -> Query {
        self.bound(include_str!("sql/pool_put.sql"))
    }

    /// Its columns, as both statements that store it take them.
    fn bound(&self, statement: &'static str) -> Query {
        db::query(statement).bind(&self.name).bind(self.slots).bind(&self.description).bind(self.include_deferred)
    }
}

impl Store {
    /// A page of what `like` finds, ordered by `column`, and how many there are.
    async fn list_by_name<T>(
        &self,
        (list, count): (&'static str, &'static str),
        column: &'static str,
        like: &Like,
        order: Order,
        page: Page,
    ) -> Result<Listed<T>, StoreError>
    where
        T: FromRow,
    {
        let (mut list, mut count) = (Builder::new(list), counting(count));
        push_like(&mut list, column, like)?;
        list.push(" ORDER BY ").push(column).push(order.sql());
        push_page(&mut list, page);
        push_like(&mut count, column, like)?;
        push_count_end(&mut count);
        self.listed(list, count).await
    }

    /// What the rows of such a page have together, where `bytes` says what each has.
    async fn page_bytes(
        &self,
        bytes: &'static str,
        column: &'static str,
        like: &Like,
        order: Order,
        page: Page,
    ) -> Result<i64, StoreError> {
        let mut sum = Builder::new(format!("SELECT coalesce(sum(bytes), 0) FROM ({bytes}"));
        push_like(&mut sum, column, like)?;
        sum.push(" ORDER BY ").push(column).push(order.sql());
        push_page(&mut sum, page);
        sum.push(") AS page");
        Ok(sum.build_query_scalar().fetch_one(self.readers()).await?)
    }

    pub async fn variable_get(&self, key: &VariableKey) -> Result<Option<VariableRow>, StoreError> {
        let query = db::query_as(include_str!("sql/variable_get.sql")).bind(key);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Variables by key.
    pub async fn variable_list(
        &self,
        like: &Like,
        order: Order,
        page: Page,
    ) -> Result<Listed<VariableRow>, StoreError> {
        let (list, count) = (include_str!("sql/variable_list.sql"), include_str!("sql/variable_count.sql"));
        self.list_by_name((list, count), "v.key", like, order, page).await
    }

    /// As [`variable_list`](Self::variable_list), without the values.
    pub async fn variable_head_list(&self, like: &Like, page: Page) -> Result<Listed<VariableHead>, StoreError> {
        let (list, count) = (include_str!("sql/variable_head_list.sql"), include_str!("sql/variable_count.sql"));
        self.list_by_name((list, count), "v.key", like, Order::Ascending, page).await
    }

    /// Bytes of what is sealed in a page of [`variable_list`](Self::variable_list).
    pub async fn variable_list_bytes(&self, like: &Like, order: Order, page: Page) -> Result<i64, StoreError> {
        self.page_bytes(include_str!("sql/variable_bytes.sql"), "v.key", like, order, page).await
    }

    /// Stores a variable unless there is one of its key; whether it was stored.
    pub async fn variable_put_new(&self, variable: &VariableRow) -> Result<bool, StoreError> {
        Ok(self.write(variable.bound(include_str!("sql/variable_put_new.sql"))).await? == 1)
    }

    /// Stores a variable; replaces one of the same key.
    pub async fn variable_put(&self, variable: &VariableRow) -> Result<(), StoreError> {
        self.write(variable.put()).await?;
        Ok(())
    }

    /// Whether there was one to delete.
    pub async fn variable_delete(&self, key: &VariableKey) -> Result<bool, StoreError> {
        Ok(self.write(db::query(include_str!("sql/variable_delete.sql")).bind(key)).await? == 1)
    }

    pub async fn connection_get(&self, id: &ConnectionId) -> Result<Option<ConnectionRow>, StoreError> {
        let query = db::query_as(include_str!("sql/connection_get.sql")).bind(id);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Connections by id.
    pub async fn connection_list(
        &self,
        like: &Like,
        order: Order,
        page: Page,
    ) -> Result<Listed<ConnectionRow>, StoreError> {
        let (list, count) = (include_str!("sql/connection_list.sql"), include_str!("sql/connection_count.sql"));
        self.list_by_name((list, count), "c.id", like, order, page).await
    }

    /// As [`connection_list`](Self::connection_list), without what is sealed.
    pub async fn connection_head_list(&self, like: &Like, page: Page) -> Result<Listed<ConnectionHead>, StoreError> {
        let (list, count) = (include_str!("sql/connection_head_list.sql"), include_str!("sql/connection_count.sql"));
        self.list_by_name((list, count), "c.id", like, Order::Ascending, page).await
    }

    /// Bytes of what is sealed in a page of [`connection_list`](Self::connection_list).
    pub async fn connection_list_bytes(&self, like: &Like, order: Order, page: Page) -> Result<i64, StoreError> {
        self.page_bytes(include_str!("sql/connection_bytes.sql"), "c.id", like, order, page).await
    }

    /// Stores a connection unless there is one of its id; whether it was stored.
    pub async fn connection_put_new(&self, connection: &ConnectionRow) -> Result<bool, StoreError> {
        Ok(self.write(connection.bound(include_str!("sql/connection_put_new.sql"))).await? == 1)
    }

    /// Stores a connection; replaces one of the same id.
    pub async fn connection_put(&self, connection: &ConnectionRow) -> Result<(), StoreError> {
        self.write(connection.put()).await?;
        Ok(())
    }

    /// Whether there was one to delete.
    pub async fn connection_delete(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        Ok(self.write(db::query(include_str!("sql/connection_delete.sql")).bind(id)).await? == 1)
    }

    pub async fn user_get(&self, username: &str) -> Result<Option<UserRow>, StoreError> {
        let query = db::query_as(include_str!("sql/user_get.sql")).bind(username);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Users by name.
    pub async fn user_list(&self, page: Page) -> Result<Listed<UserRow>, StoreError> {
        let items = db::query_as(include_str!("sql/user_list.sql"))
            .bind(page.limit.min(MAX_PAGE))
            .bind(page.offset)
            .fetch_all(self.readers())
            .await?;
        Ok(Listed { items, total: self.user_count().await? })
    }

    pub async fn user_count(&self) -> Result<i64, StoreError> {
        Ok(db::query_scalar(include_str!("sql/user_count.sql")).fetch_one(self.readers()).await?)
    }

    /// The user that an issuer vouches for.
    pub async fn user_get_by_identity(&self, identity: &Identity) -> Result<Option<UserRow>, StoreError> {
        let query = db::query_as(include_str!("sql/user_get_by_identity.sql"));
        let query = query.bind(&identity.issuer).bind(&identity.subject);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Stores a new user; whether there was none of that name, and none of that identity.
    pub async fn user_create(&self, user: &UserRow) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/user_create.sql"))
            .bind(&user.username)
            .bind(&user.password_hash)
            .bind(user.role)
            .bind(dag_permission::column(&user.dag_permissions)?)
            .bind(user.identity.as_ref().map(|identity| identity.issuer.as_str()))
            .bind(user.identity.as_ref().map(|identity| identity.subject.as_str()))
            .bind(user.created_at)
            .bind(user.updated_at);
        Ok(self.write(query).await? == 1)
    }

    /// Gives a user the role that an issuer vouches for, also if it takes the last admin's; whether there is such a user.
    pub async fn user_set_role_vouched(
        &self,
        identity: &Identity,
        role: Role,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/user_set_role_vouched.sql"));
        Ok(self.write(query.bind(&identity.issuer).bind(&identity.subject).bind(role).bind(now)).await? == 1)
    }

    /// Deletes a user, unless it is the last admin; whether it did. Its sessions go with it. Of two admins who delete each other at a
    /// time, by two processes, one stays: each locks the other's row first.
    pub async fn user_delete(&self, username: &str) -> Result<bool, StoreError> {
        Ok(self.write(db::query(each!("user_delete")).bind(username)).await? == 1)
    }

    /// The session with this secret, expired or not, and what its user may do at present.
    pub async fn session_get(&self, secret_hash: &[u8; 32]) -> Result<Option<(SessionRow, DagAccess)>, StoreError> {
        let query = db::query(include_str!("sql/session_get.sql")).bind(secret_hash.as_slice());
        let row = query.fetch_optional(self.readers()).await?;
        let read =
            |row| Ok::<_, sqlx::Error>((SessionRow::from_row(&row)?, dag_permission::access_of_row(&row, "role")?));
        Ok(row.map(read).transpose()?)
    }

    /// Stores a new session; whether its user is there and, if `password_hash` is given, has that password still.
    pub async fn session_create(&self, session: &SessionRow, password_hash: Option<&str>) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/session_create.sql"))
            .bind(session.secret_hash.as_slice())
            .bind(&session.username)
            .bind(&session.kind)
            .bind(session.created_at)
            .bind(session.expires_at)
            .bind(password_hash);
        Ok(self.write(query).await? == 1)
    }

    /// Moves the end of a session; whether it was there still.
    pub async fn session_renew(&self, secret_hash: &[u8; 32], expires_at: Timestamp) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/session_renew.sql")).bind(secret_hash.as_slice()).bind(expires_at);
        Ok(self.write(query).await? == 1)
    }

    /// Whether there was one to delete.
    pub async fn session_delete(&self, secret_hash: &[u8; 32]) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/session_delete.sql")).bind(secret_hash.as_slice());
        Ok(self.write(query).await? == 1)
    }

    /// How many there were.
    pub async fn session_delete_of_user(&self, username: &str) -> Result<u64, StoreError> {
        self.write(db::query(include_str!("sql/session_delete_of_user.sql")).bind(username)).await
    }

    /// How many had expired at `now`.
    pub async fn session_delete_expired(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(db::query(include_str!("sql/session_delete_expired.sql")).bind(now)).await
    }

    pub async fn pool_get(&self, name: &PoolName) -> Result<Option<PoolRow>, StoreError> {
        let query = db::query_as(include_str!("sql/pool_get.sql")).bind(name);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Pools by name.
    pub async fn pool_list(&self, like: &Like, order: Order, page: Page) -> Result<Listed<PoolRow>, StoreError> {
        let (list, count) = (include_str!("sql/pool_list.sql"), include_str!("sql/pool_count.sql"));
        self.list_by_name((list, count), "p.name", like, order, page).await
    }

    /// The names of all pools.
    pub async fn pool_names(&self) -> Result<BTreeSet<String>, StoreError> {
        let query = db::query_scalar(include_str!("sql/pool_names.sql"));
        Ok(query.fetch_all(self.readers()).await?.into_iter().collect())
    }

    /// Stores a pool unless there is one of its name; whether it was stored.
    pub async fn pool_put_new(&self, pool: &PoolRow) -> Result<bool, StoreError> {
        Ok(self.write(pool.bound(include_str!("sql/pool_put_new.sql"))).await? == 1)
    }

    /// Stores a pool; replaces one of the same name.
    pub async fn pool_put(&self, pool: &PoolRow) -> Result<(), StoreError> {
        self.write(pool.put()).await?;
        Ok(())
    }

    /// Whether there was one to delete.
    pub async fn pool_delete(&self, name: &PoolName) -> Result<bool, StoreError> {
        Ok(self.write(db::query(include_str!("sql/pool_delete.sql")).bind(name)).await? == 1)
    }

    /// What task instances hold or ask for, by pool. Pools that nobody uses are left out.
    pub async fn pool_use(&self) -> Result<Vec<PoolUse>, StoreError> {
        let query = db::query_as::<(String, TaskState, i64)>(include_str!("sql/pool_use.sql"));
        let mut pools = BTreeMap::<String, PoolUse>::new();
        for (pool, state, slots) in query.fetch_all(self.readers()).await? {
            let used = pools.entry(pool.clone()).or_insert_with(|| PoolUse { pool, ..PoolUse::default() });
            match state {
                TaskState::Running | TaskState::Restarting => used.running += slots,
                TaskState::Queued => used.queued += slots,
                TaskState::Scheduled => used.scheduled += slots,
                TaskState::UpForReschedule => used.deferred += slots,
                _ => {}
            }
        }
        Ok(pools.into_values().collect())
    }

    pub async fn setting_get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let query = db::query_scalar(include_str!("sql/setting_get.sql")).bind(name);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Stores a setting unless it is there; whether it was stored.
    pub async fn setting_put_new(&self, name: &str, value: &[u8]) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/setting_put_new.sql")).bind(name).bind(value);
        Ok(self.write(query).await? == 1)
    }

    /// Stores a setting in place of what there was.
    pub async fn setting_put(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.write(db::query(include_str!("sql/setting_put.sql")).bind(name).bind(value)).await?;
        Ok(())
    }
}
