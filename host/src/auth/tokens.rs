//! Tokens that users make for programs: with a name, a role and an end, shown once.

use std::time::Duration;

use serde_json::Value;

use super::{Audit, Auth, AuthError, CurrentUser, SessionKind, secret, sessions::Verified, users::shorten};
use crate::{
    model::{
        dag_access::DagAccess,
        role::{Permission, Role},
        time::Timestamp,
    },
    secrets::SecretString,
    store::{ApiTokenNew, ApiTokenRow, Listed, Page, StoreError},
};

/// Tokens of a user at most, expired ones too.
pub const MAX_TOKENS: u32 = 100;
/// How long a token is good unless its maker says otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::from_hours(90 * 24);
/// How long a token is good at most.
pub const MAX_LIFETIME: Duration = Duration::from_hours(366 * 24);
/// Characters of a token's name at most.
const MAX_NAME_CHARS: usize = 100;
/// When a token was used last is written so often at most.
const USED_INTERVAL: Duration = Duration::from_hours(1);

/// A token that somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct TokenRequest {
    /// Whose it is; none: of whoever asks.
    pub username: Option<String>,
    pub name: String,
    /// The most that it may do, on whichever dags; none: as much as its user, or whoever asks if that is less.
    pub role: Option<Role>,
    /// From an instant to [`MAX_LIFETIME`]; none: [`DEFAULT_LIFETIME`].
    pub lifetime: Option<Duration>,
}

/// A token that was just made.
#[derive(Debug)]
pub struct NewToken {
    /// To be told to whoever made it, and never again.
    pub secret: SecretString,
    pub row: ApiTokenRow,
}

impl Auth {
    /// Makes a token. Only admins make one for somebody else, and no token makes another.
    ///
    /// # Errors
    /// If `by` may not make it, its name, role or lifetime can't be, or the user has too many.
    pub async fn token_create(&self, by: &CurrentUser, request: TokenRequest) -> Result<NewToken, AuthError> {
        let inner = &self.inner;
        if by.token.is_some() {
            return Err(AuthError::TokenByToken);
        }
        let username = request.username.unwrap_or_else(|| by.username.clone());
        if username != by.username && !by.may(Permission::UserWrite) {
            return Err(AuthError::TokenOfOther);
        }
        let owner = inner.store.user_get(&username).await?;
        let owner = owner.ok_or_else(|| AuthError::UnknownUser(shorten(&username)))?;
        let name = request.name.trim().to_owned();
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            return Err(AuthError::TokenName);
        }
        let owner_access = DagAccess::new(owner.role, &owner.dag_permissions);
        let limit = owner_access.strongest().min(by.dags.strongest());
        let role = request.role.unwrap_or(limit);
        if role > limit {
            return Err(AuthError::TokenRole { role, limit });
        }
        let lifetime = request.lifetime.unwrap_or(DEFAULT_LIFETIME);
        if lifetime.is_zero() || lifetime > MAX_LIFETIME {
            return Err(AuthError::TokenLifetime);
        }
        let secret = secret::generate_token();
        let secret_hash = secret::hash(&secret).ok_or(AuthError::UnknownToken)?;
        let created_at = inner.clock.now();
        let new = ApiTokenNew {
            secret_hash,
            username,
            name,
            role,
            created_at,
            created_by: by.username.clone(),
            expires_at: created_at.after(lifetime),
        };
        Audit::tell(&new.name, &Value::Null, &new.shown());
        match inner.store.api_token_create(&new, MAX_TOKENS).await {
            Ok(true) => {}
            Ok(false) => return Err(AuthError::TooManyTokens),
            Err(StoreError::Conflict(_)) => return Err(AuthError::TokenExists(new.name)),
            Err(error) => return Err(error.into()),
        }
        let found = inner.store.api_token_get_by_hash(&secret_hash).await?;
        let (row, _) = found.ok_or(AuthError::UnknownToken)?;
        Ok(NewToken { secret: SecretString::from(secret), row })
    }

    /// Tokens of `username`, or (none) of everybody. To a token there is none but itself.
    ///
    /// # Errors
    /// If `by` asks for those of others and is no admin, or the store can't be read.
    pub async fn token_list(
        &self,
        by: &CurrentUser,
        username: Option<&str>,
        page: Page,
    ) -> Result<Listed<ApiTokenRow>, AuthError> {
        if username != Some(&by.username) && !by.may(Permission::UserWrite) {
            return Err(AuthError::TokenOfOther);
        }
        if by.token.is_none() {
            return Ok(self.inner.store.api_token_list(username, page).await?);
        }
        // A user has so few that they are all read.
        let all = self.inner.store.api_token_list(Some(&by.username), Page::first(MAX_TOKENS)).await?;
        let is_asked_for = username.is_none_or(|username| username == by.username);
        let mut items: Vec<_> = all.items.into_iter().filter(|row| is_asked_for && by.shows(row)).collect();
        let total = i64::from(!items.is_empty());
        if page.offset > 0 || page.limit == 0 {
            items.clear();
        }
        Ok(Listed { items, total })
    }

    /// A token that `by` may revoke. To everybody else, that of another is none; a token revokes itself only, so that one
    /// that got into wrong hands does not take the others of its user along.
    ///
    /// # Errors
    /// If there is no such token, a token asks for another, or the store can't be read.
    pub async fn token_get(&self, by: &CurrentUser, id: i64) -> Result<ApiTokenRow, AuthError> {
        let row = self.inner.store.api_token_get(id).await?;
        // Whether there is another is not said.
        if by.token.is_some() && row.as_ref().is_none_or(|row| !by.shows(row)) {
            return Err(AuthError::EndByToken);
        }
        let is_visible = |row: &ApiTokenRow| row.username == by.username || by.may(Permission::UserWrite);
        row.filter(is_visible).ok_or(AuthError::NoSuchToken(id))
    }

    /// Ends a token at once.
    ///
    /// # Errors
    /// If there is no such token, a token asks for another, or the store fails.
    pub async fn token_revoke(&self, by: &CurrentUser, id: i64) -> Result<ApiTokenRow, AuthError> {
        let row = self.token_get(by, id).await?;
        Audit::tell(&row.name, &row.shown(), &Value::Null);
        self.inner.store.api_token_delete(id).await?;
        self.forget_verified();
        Ok(row)
    }

    /// The token with this hash, as the store has it, and remembers that it was used.
    pub(super) async fn token_look_up(&self, hash: &[u8; 32], now: Timestamp) -> Result<Verified, AuthError> {
        let found = self.inner.store.api_token_get_by_hash(hash).await?;
        let (row, access) = found.ok_or(AuthError::UnknownToken)?;
        let is_stale = row.last_used_at.is_none_or(|last| now.since(last) >= USED_INTERVAL);
        if is_stale && row.expires_at > now {
            self.inner.store.api_token_set_used(row.id, now).await?;
        }
        let user = CurrentUser {
            username: row.username,
            dags: access.limited(row.role),
            on_dag: None,
            kind: SessionKind::Bearer,
            token: Some(row.name),
        };
        Ok(Verified { user, expires_at: row.expires_at, checked_at: now })
    }
}
