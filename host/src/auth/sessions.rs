//! Sessions of the page and bearer tokens of the API: opened by a password, checked on each request, ended.

use std::{net::IpAddr, sync::PoisonError, time::Duration};

use super::{Auth, AuthError, CurrentUser, secret, users::shorten};
use crate::{
    model::time::Timestamp,
    secrets::SecretString,
    store::{EventNew, SessionRow, UserChange},
};

/// Tokens that are over are listed for so long, so that their users see why they are refused.
const TOKEN_REMEMBERED: Duration = Duration::from_hours(30 * 24);
/// Sessions that are over are deleted so often.
const CLEAN_INTERVAL: Duration = Duration::from_hours(1);

/// Whoever listens for long is looked at again so often, for what other processes change.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// What a request showed, for requests that last.
#[derive(Debug, Clone)]
pub struct Credential {
    pub secret: SecretString,
    pub kind: SessionKind,
}

/// Where a secret is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// In a cookie, by a browser: good until it is unused for a while.
    Cookie,
    /// In `Authorization: Bearer`, by a program: good for a fixed time.
    Bearer,
}

impl SessionKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Bearer => "bearer",
        }
    }

    fn of(stored: &str) -> Option<Self> {
        [Self::Cookie, Self::Bearer].into_iter().find(|kind| kind.as_str() == stored)
    }
}

/// A session or token that was just opened.
#[derive(Debug)]
pub struct NewSession {
    /// To be given to the client, and shown to nobody else.
    pub secret: SecretString,
    pub username: String,
    pub expires_at: Timestamp,
}

/// A session or token that the store knew a moment ago.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) user: CurrentUser,
    pub(super) expires_at: Timestamp,
    pub(super) checked_at: Timestamp,
}

impl Auth {
    /// Opens a session for whoever knows the password.
    ///
    /// # Errors
    /// If user or password are wrong, or were guessed too often.
    pub async fn login(
        &self,
        username: &str,
        password: &str,
        kind: SessionKind,
        peer: Option<IpAddr>,
    ) -> Result<NewSession, AuthError> {
        let inner = &self.inner;
        let account: String = username.chars().take(250).collect();
        inner
            .throttle
            .take(&account, peer, inner.clock.now())
            .map_err(|retry_after| AuthError::Throttled { retry_after })?;
        let user = inner.store.user_get(&account).await?;
        let hash = user.as_ref().map(|user| user.password_hash.as_str()).filter(|hash| !hash.is_empty());
        let event = self.event("sign_in", None, peer, kind.as_str().to_owned());
        let event = EventNew { username: user.as_ref().map(|_| account.clone()), ..event };
        if !inner.passwords.verify(password, hash).await {
            self.record_denial(event).await;
            return Err(AuthError::WrongPassword);
        }
        inner.throttle.succeeded(&account, peer);
        // A password that was changed, or a user deleted, while this one was checked opens nothing.
        let session = self.open_if(&account, kind, hash).await?.ok_or(AuthError::WrongPassword)?;
        self.record(event).await?;
        Ok(session)
    }

    /// Opens a session for `username`, who was recognised by other means (the command line of the server's owner).
    ///
    /// # Errors
    /// If there is no such user, or the store fails.
    pub async fn open(&self, username: &str, kind: SessionKind) -> Result<NewSession, AuthError> {
        let opened = self.open_if(username, kind, None).await?;
        opened.ok_or_else(|| AuthError::UnknownUser(shorten(username)))
    }

    /// Opens a session for `username`, if there is such a user, whose password is that of `password_hash` if it is given.
    pub(super) async fn open_if(
        &self,
        username: &str,
        kind: SessionKind,
        password_hash: Option<&str>,
    ) -> Result<Option<NewSession>, AuthError> {
        let inner = &self.inner;
        let secret = secret::generate();
        let secret_hash = secret::hash(&secret).ok_or(AuthError::UnknownToken)?;
        let now = inner.clock.now();
        let expires_at = match kind {
            SessionKind::Cookie => now.after(inner.config.cookie_idle.min(inner.config.cookie_lifetime)),
            SessionKind::Bearer => now.after(inner.config.bearer_lifetime),
        };
        let row = SessionRow {
            secret_hash,
            username: username.to_owned(),
            kind: kind.as_str().to_owned(),
            created_at: now,
            expires_at,
        };
        if !inner.store.session_create(&row, password_hash).await? {
            return Ok(None);
        }
        self.delete_expired(now).await?;
        Ok(Some(NewSession { secret: SecretString::from(secret), username: username.to_owned(), expires_at }))
    }

    /// Who shows `secret` as a credential of `kind`.
    ///
    /// # Errors
    /// If it is unknown, over, or of another kind.
    pub async fn authenticate(&self, secret: &str, kind: SessionKind) -> Result<CurrentUser, AuthError> {
        let inner = &self.inner;
        let hash = secret::hash(secret).ok_or(AuthError::UnknownToken)?;
        let now = inner.clock.now();
        let cached = self.cache().get(&hash).filter(|seen| now.since(seen.checked_at) < inner.config.cache).cloned();
        let seen = if let Some(seen) = cached {
            seen
        } else {
            let seen = if secret::is_token(secret) {
                self.token_look_up(&hash, now).await?
            } else {
                self.session_look_up(&hash, now).await?
            };
            self.cache().put(hash, seen.clone());
            seen
        };
        if seen.expires_at <= now || seen.user.kind != kind {
            return Err(AuthError::UnknownToken);
        }
        Ok(seen.user)
    }

    async fn session_look_up(&self, hash: &[u8; 32], now: Timestamp) -> Result<Verified, AuthError> {
        let (row, dags) = self.inner.store.session_get(hash).await?.ok_or(AuthError::UnknownToken)?;
        let row = self.renew(row, now).await?;
        let kind = SessionKind::of(&row.kind).ok_or(AuthError::UnknownToken)?;
        let user = CurrentUser { username: row.username, dags, on_dag: None, kind, token: None };
        Ok(Verified { user, expires_at: row.expires_at, checked_at: now })
    }

    /// Moves the end of a cookie session that is in use, once a tenth of its idle time has passed.
    async fn renew(&self, row: SessionRow, now: Timestamp) -> Result<SessionRow, AuthError> {
        let config = &self.inner.config;
        if row.kind != SessionKind::Cookie.as_str() || row.expires_at <= now {
            return Ok(row);
        }
        let expires_at = now.after(config.cookie_idle).min(row.created_at.after(config.cookie_lifetime));
        if expires_at.since(row.expires_at) < config.cookie_idle / 10 {
            return Ok(row);
        }
        // One that was ended a moment ago stays so.
        if !self.inner.store.session_renew(&row.secret_hash, expires_at).await? {
            return Err(AuthError::UnknownToken);
        }
        Ok(SessionRow { expires_at, ..row })
    }

    /// Ends the session or token at once.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn logout(&self, secret: &str) -> Result<(), AuthError> {
        if let Some(hash) = secret::hash(secret) {
            self.inner.store.session_delete(&hash).await?;
            self.cache().pop(&hash);
            self.inner.changed.send_replace(());
        }
        Ok(())
    }

    /// Deletes sessions and tokens that are over, once in a while: whoever makes new ones clears the old away.
    async fn delete_expired(&self, now: Timestamp) -> Result<(), AuthError> {
        let is_due = {
            let mut cleaned_at = self.inner.cleaned_at.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = now.since(*cleaned_at) >= CLEAN_INTERVAL;
            if is_due {
                *cleaned_at = now;
            }
            is_due
        };
        if is_due {
            self.inner.store.session_delete_expired(now).await?;
            self.inner.store.api_token_delete_expired(now.before(TOKEN_REMEMBERED)).await?;
        }
        Ok(())
    }

    pub(super) async fn end_sessions_of(&self, username: &str) -> Result<(), AuthError> {
        self.inner.store.session_delete_of_user(username).await?;
        self.inner.store.api_token_delete_of_user(username).await?;
        self.forget_verified();
        Ok(())
    }

    /// Asks the store anew for every token.
    pub(super) fn forget_verified(&self) {
        self.cache().clear();
        self.inner.changed.send_replace(());
    }

    /// Ends all sessions and tokens of a user at once; what they listen to ends, too.
    ///
    /// # Errors
    /// If the user does not exist, or the store fails.
    pub async fn sign_out_everywhere(&self, username: &str) -> Result<(), AuthError> {
        self.user_change(username, UserChange { sign_out: true, ..UserChange::default() }).await.map(drop)
    }

    /// Ends all sessions and tokens of whoever sends a request.
    ///
    /// # Errors
    /// If a token asks, or the store fails.
    pub async fn sign_out_self(&self, by: &CurrentUser) -> Result<(), AuthError> {
        by.check_not_by_own_token(&by.username)?;
        self.sign_out_everywhere(&by.username).await
    }

    /// Returns once `credential` no longer is what it was when `user` showed it: it ended, or the user's rights changed. It is
    /// noticed at once if it happens in this process, else within [`WATCH_INTERVAL`].
    pub async fn until_changed(&self, credential: &Credential, user: &CurrentUser) {
        let mut changed = self.inner.changed.subscribe();
        loop {
            let found = self.authenticate(credential.secret.expose(), credential.kind).await;
            let is_same = match &found {
                Ok(found) => (&found.username, &found.dags) == (&user.username, &user.dags),
                // A database that can't be asked ends nobody's stream.
                Err(error) => matches!(error, AuthError::Store(_)),
            };
            if !is_same {
                return;
            }
            // Either way it is time to look; the sender lives as long as this doorkeeper.
            let _ = tokio::time::timeout(WATCH_INTERVAL, changed.changed()).await;
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, lru::LruCache<[u8; 32], Verified>> {
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
