//! A user changes whole: what is given of role, DAG permissions and password, and what ends with it, in one transaction.

use super::{
    Store, StoreError, UserRow, dag_permission,
    db::{self, each},
};
use crate::model::{dag_access::DagPermission, role::Role, time::Timestamp};

/// What becomes otherwise; none of a field: it stays.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    pub role: Option<Role>,
    pub dag_permissions: Option<Vec<DagPermission>>,
    pub password_hash: Option<String>,
    /// All sessions and tokens of the user end. With another password they always do.
    pub sign_out: bool,
}

impl UserChange {
    pub fn signs_out(&self) -> bool {
        self.sign_out || self.password_hash.is_some()
    }
}

/// What became of a [`UserChange`].
#[derive(Debug)]
pub enum UserChanged {
    Done(UserRow),
    /// There is no such user, or none that has a password here.
    NoUser,
    /// It would take the last admin's role. Nothing was changed.
    LastAdmin,
}

impl Store {
    /// Changes a user: all of it, or nothing. `tell` is told what was and what will be, before it is committed.
    pub async fn user_change(
        &self,
        username: &str,
        change: &UserChange,
        now: Timestamp,
        tell: impl FnOnce(&UserRow, &UserRow),
    ) -> Result<UserChanged, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let get = || db::query_as::<UserRow>(include_str!("sql/user_get.sql")).bind(username);
        let Some(before) = get().fetch_optional(&mut *transaction).await? else { return Ok(UserChanged::NoUser) };
        if let Some(role) = change.role {
            let set = db::query(each!("user_set_role")).bind(username).bind(role).bind(now);
            if set.execute(&mut *transaction).await? == 0 {
                return Ok(UserChanged::LastAdmin);
            }
        }
        if let Some(permissions) = &change.dag_permissions {
            let set = db::query(include_str!("sql/user_set_dag_permissions.sql"));
            let set = set.bind(username).bind(dag_permission::column(permissions)?).bind(now);
            set.execute(&mut *transaction).await?;
        }
        if let Some(hash) = &change.password_hash {
            let set = db::query(include_str!("sql/user_set_password.sql")).bind(username).bind(hash).bind(now);
            if set.execute(&mut *transaction).await? == 0 {
                return Ok(UserChanged::NoUser);
            }
        }
        if change.signs_out() {
            for statement in
                [include_str!("sql/session_delete_of_user.sql"), include_str!("sql/api_token_delete_of_user.sql")]
            {
                db::query(statement).bind(username).execute(&mut *transaction).await?;
            }
        }
        let Some(after) = get().fetch_optional(&mut *transaction).await? else { return Ok(UserChanged::NoUser) };
        tell(&before, &after);
        transaction.commit().await?;
        Ok(UserChanged::Done(after))
    }
}
