//! Users: made, listed, given new passwords, deleted.

use std::net::IpAddr;

use serde_json::Value;

use super::{Audit, Auth, AuthError, CurrentUser, password::Passwords, secret};
use crate::{
    model::{dag_access::DagPermission, role::Role},
    secrets::{MASK, SecretString},
    store::{Listed, Page, UserChange, UserChanged, UserRow},
};

/// The first user's name.
const FIRST_USER: &str = "admin";

impl Auth {
    /// Makes the first user, `admin`, if there is none, with `password` or a random one.
    ///
    /// Answers the random password, to be shown once.
    ///
    /// # Errors
    /// If `password` is one that can't be used, or the store fails.
    pub async fn ensure_admin(&self, password: Option<SecretString>) -> Result<Option<SecretString>, AuthError> {
        if self.inner.store.user_count().await? > 0 {
            return Ok(None);
        }
        if let Some(password) = password {
            self.user_create(FIRST_USER, Some(password.expose()), Role::Admin, Vec::new()).await?;
            return Ok(None);
        }
        let password = SecretString::from(secret::generate_password());
        self.user_create(FIRST_USER, Some(password.expose()), Role::Admin, Vec::new()).await?;
        Ok(Some(password))
    }

    /// Makes a user; without a password, a service account, which tokens alone act for.
    ///
    /// # Errors
    /// If the name, the password or the DAG permissions can't be used, or the user exists.
    pub async fn user_create(
        &self,
        username: &str,
        password: Option<&str>,
        role: Role,
        permissions: Vec<DagPermission>,
    ) -> Result<UserRow, AuthError> {
        check_name(username)?;
        let dag_permissions = DagPermission::checked(permissions)?;
        password.map_or(Ok(()), |password| Passwords::check_rules(password, username))?;
        if self.inner.store.user_get(username).await?.is_some() {
            return Err(AuthError::UserExists(username.to_owned()));
        }
        let password_hash = match password {
            Some(password) => self.inner.passwords.hash(password).await?,
            None => String::new(),
        };
        let now = self.inner.clock.now();
        let user = UserRow {
            username: username.to_owned(),
            password_hash,
            role,
            dag_permissions,
            identity: None,
            created_at: now,
            updated_at: now,
        };
        Audit::tell(username, &Value::Null, &user.shown());
        // Somebody else may have made one of that name meanwhile.
        if !self.inner.store.user_create(&user).await? {
            return Err(AuthError::UserExists(username.to_owned()));
        }
        Ok(user)
    }

    /// Gives a user a new password and ends all of the user's sessions and tokens.
    ///
    /// # Errors
    /// If the password can't be used, or the user does not exist, or is signed in by a provider.
    pub async fn user_set_password(&self, username: &str, password: &str) -> Result<UserRow, AuthError> {
        let password_hash = Some(self.password_hash(username, password).await?);
        self.user_change(username, UserChange { password_hash, ..UserChange::default() }).await
    }

    /// What is stored of a new password of a user.
    async fn password_hash(&self, username: &str, password: &str) -> Result<String, AuthError> {
        Passwords::check_rules(password, username)?;
        // A hash takes a while: who is nobody costs none.
        let user = self.inner.store.user_get(username).await?;
        let user = user.ok_or_else(|| AuthError::UnknownUser(shorten(username)))?;
        if user.identity.is_some() {
            return Err(AuthError::PasswordOfVouched(user.username));
        }
        Ok(self.inner.passwords.hash(password).await?)
    }

    /// Changes a user; all of it with its entry in the audit log, or nothing.
    pub(super) async fn user_change(&self, username: &str, change: UserChange) -> Result<UserRow, AuthError> {
        let tell = |before: &UserRow, after: &UserRow| {
            let mut shown = after.shown();
            shown["password"] = if change.password_hash.is_some() { MASK } else { "unchanged" }.into();
            shown["signed_out"] = change.signs_out().into();
            Audit::tell(username, &before.shown(), &shown);
        };
        match self.inner.store.user_change(username, &change, self.inner.clock.now(), tell).await? {
            UserChanged::Done(user) => {
                self.forget_verified();
                Ok(user)
            }
            UserChanged::NoUser => Err(AuthError::UnknownUser(shorten(username))),
            UserChanged::LastAdmin => Err(AuthError::LastAdmin(username.to_owned())),
        }
    }

    /// Gives whoever sends a request a new password, which ends all of the user's sessions and tokens.
    ///
    /// # Errors
    /// If `present` is not the password, was guessed too often, or the new one can't be used; or if a token asks.
    pub async fn user_change_password(
        &self,
        by: &CurrentUser,
        present: &str,
        password: &str,
        peer: Option<IpAddr>,
    ) -> Result<UserRow, AuthError> {
        if by.token.is_some() {
            return Err(AuthError::PasswordByToken);
        }
        let inner = &self.inner;
        let taken = inner.throttle.take(&by.username, peer, inner.clock.now());
        taken.map_err(|retry_after| AuthError::Throttled { retry_after })?;
        let user = inner.store.user_get(&by.username).await?;
        let hash = user.as_ref().map(|user| user.password_hash.as_str()).filter(|hash| !hash.is_empty());
        if let Some(user) = user.as_ref().filter(|user| user.identity.is_some()) {
            return Err(AuthError::PasswordOfVouched(user.username.clone()));
        }
        if !inner.passwords.verify(present, hash).await {
            return Err(AuthError::PresentPassword);
        }
        inner.throttle.succeeded(&by.username, peer);
        self.user_set_password(&by.username, password).await
    }

    /// Gives a user another role, these DAG permissions and, if there is one, a new password, and ends sessions and tokens if that is
    /// asked for: all or nothing.
    ///
    /// # Errors
    /// As [`user_set_role`](Self::user_set_role), [`user_set_dag_permissions`](Self::user_set_dag_permissions) and
    /// [`user_set_password`](Self::user_set_password).
    pub async fn user_update(
        &self,
        username: &str,
        role: Role,
        permissions: Vec<DagPermission>,
        password: Option<&str>,
        sign_out: bool,
    ) -> Result<UserRow, AuthError> {
        let dag_permissions = Some(DagPermission::checked(permissions)?);
        let password_hash = match password {
            Some(password) => Some(self.password_hash(username, password).await?),
            None => None,
        };
        self.user_change(username, UserChange { role: Some(role), dag_permissions, password_hash, sign_out }).await
    }

    /// Gives a user another role. What the user's sessions and tokens may do changes at once.
    ///
    /// # Errors
    /// If the user does not exist, or is the last admin.
    pub async fn user_set_role(&self, username: &str, role: Role) -> Result<UserRow, AuthError> {
        self.user_change(username, UserChange { role: Some(role), ..UserChange::default() }).await
    }

    /// Gives a user these DAG permissions and no others. What the user's sessions and tokens may do changes at once.
    ///
    /// # Errors
    /// If the user does not exist, or the permissions can't be.
    pub async fn user_set_dag_permissions(
        &self,
        username: &str,
        permissions: Vec<DagPermission>,
    ) -> Result<UserRow, AuthError> {
        let dag_permissions = Some(DagPermission::checked(permissions)?);
        self.user_change(username, UserChange { dag_permissions, ..UserChange::default() }).await
    }

    /// # Errors
    /// If the store can't be read.
    pub async fn user_list(&self, page: Page) -> Result<Listed<UserRow>, AuthError> {
        Ok(self.inner.store.user_list(page).await?)
    }

    /// Deletes a user and ends all of the user's sessions and tokens.
    ///
    /// # Errors
    /// If the user does not exist, or is the last admin.
    pub async fn user_delete(&self, username: &str) -> Result<(), AuthError> {
        let user = self.inner.store.user_get(username).await?;
        let user = user.ok_or_else(|| AuthError::UnknownUser(shorten(username)))?;
        Audit::tell(username, &user.shown(), &Value::Null);
        if !self.inner.store.user_delete(username).await? {
            // Somebody else may have deleted the user a moment ago.
            let is_there = self.inner.store.user_get(username).await?.is_some();
            let error = if is_there { AuthError::LastAdmin } else { AuthError::UnknownUser };
            return Err(error(shorten(username)));
        }
        self.forget_verified();
        Ok(())
    }
}

/// What acts by a signed webhook, as others see it; no user has this name.
pub const WEBHOOK_USER: &str = "webhook";

pub(super) fn check_name(username: &str) -> Result<(), AuthError> {
    // With what stands in the names of Entra ID, as `o'brien@..` and, of a guest, `ann_b.org#EXT#@..`.
    let plain = username.chars().all(|c| c.is_ascii_alphanumeric() || "_-.@+'!#^~".contains(c));
    if username.is_empty() || username.len() > 250 || !plain || username == WEBHOOK_USER {
        return Err(AuthError::UserName(shorten(username)));
    }
    Ok(())
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_called_as_directories_call_them() {
        for name in ["ann", "ann.b+x@corp.example", "o'brien@corp.example", "ann_b.org#EXT#@corp.onmicrosoft.com"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "a/b", "CORP\\ann", "ann\n", "a,b", "a=b", WEBHOOK_USER] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
