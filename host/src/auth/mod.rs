//! Who asks: users with passwords, sessions of the page, bearer tokens of the API.
//!
//! It promises: passwords are stored as argon2id, tokens as SHA-256; a token is refused within
//! [`AuthConfig::cache`] of its end; guessing is slowed by account and by peer, and costs the same whether the user
//! exists or not; what a route needs stands in one table ([`routes`]), and what was
//! changed or refused is written down ([`Audit`]). Users may sign in by a provider of OpenID Connect instead ([`Oidc`]). It leaves out
//! HTTP: how a request shows its secret is in `api::identity`.

mod audit;
mod dags;
mod oidc;
mod password;
pub mod routes;
mod secret;
mod sessions;
mod throttle;
mod tokens;
mod users;
mod vouched;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

pub use audit::Audit;
pub use dags::{DagScope, NotYours};
use lru::LruCache;
pub use oidc::{Answer, Begun, Oidc, OidcConfig, OidcError, SIGN_IN_LIFETIME};
pub use password::{MAX_PASSWORD_BYTES, PasswordError, PasswordRules};
pub use sessions::{Credential, NewSession, SessionKind};
pub use tokens::{NewToken, TokenRequest};
use tokio::sync::watch;
pub use users::WEBHOOK_USER;

use self::{audit::Outbox, password::Passwords, sessions::Verified, throttle::Throttle};
use crate::{
    model::{
        dag_access::{DagAccess, DagPermissionError, Uploader},
        denials::Denials,
        role::{Permission, Role},
        shares::{Full, Share, Shares},
        sign_in::SignInError,
        time::{Clock, Timestamp},
    },
    store::{ApiTokenRow, Store, StoreError},
};

/// Requests that last - streams of events and logs - at a time, and those of one user.
const MAX_LISTENERS: usize = 2_048;
const MAX_LISTENERS_OF_USER: usize = 128;
/// Verified tokens that are remembered at a time.
const CACHED_TOKENS: NonZeroUsize = NonZeroUsize::new(4_096).expect("it is not zero");

/// Who sends a request. In a handler it demands a good cookie or token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentUser {
    pub username: String,
    /// What the user, or the token that the request shows, may do.
    pub dags: DagAccess,
    /// The role on the dag that the request's path names, if it names one.
    pub on_dag: Option<Role>,
    pub kind: SessionKind,
    /// The name of the API token that the request shows, if it is one.
    pub token: Option<String>,
}

impl CurrentUser {
    /// The role that counts for all dags, and for what is about none.
    pub fn role(&self) -> Role {
        self.dags.general()
    }

    /// The user as one who uploads.
    pub fn uploader(&self) -> Uploader {
        Uploader { username: self.username.clone(), access: self.dags.clone() }
    }

    /// Whether `row` is the API token that the request shows.
    pub fn shows(&self, row: &ApiTokenRow) -> bool {
        // A user has one of a name.
        row.username == self.username && self.token.as_ref() == Some(&row.name)
    }

    /// Lets the request sign out, change or delete `username`. A token does that with others at most, if its role may: one that
    /// got into wrong hands does not lock its user out.
    ///
    /// # Errors
    /// If the request shows a token of that user.
    pub fn check_not_by_own_token(&self, username: &str) -> Result<(), AuthError> {
        if self.token.is_some() && self.username == username { Err(AuthError::EndByToken) } else { Ok(()) }
    }

    /// Whether the user may do that with the dag that the request is about, or at all.
    pub fn may(&self, permission: Permission) -> bool {
        let on_dag = self.on_dag.filter(|_| permission.is_of_dag());
        self.role().may(permission) || on_dag.is_some_and(|role| role.may(permission))
    }
}

/// Whether `next`, where somebody asks to be led, is a path of this very server.
///
/// A browser reads `//host` and `/\host` as another host, and drops tabs and line breaks before it looks.
pub fn leads_here(next: &str) -> bool {
    let bytes = next.as_bytes();
    let is_path = bytes.first() == Some(&b'/') && !matches!(bytes.get(1), Some(b'/' | b'\\'));
    is_path && bytes.iter().all(u8::is_ascii_graphic)
}

/// How long sessions last and how dear passwords are.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// How long a bearer token is good.
    pub bearer_lifetime: Duration,
    /// A session of the page ends when it is unused for so long.
    pub cookie_idle: Duration,
    /// A session of the page ends so long after its sign-in, whatever happens.
    pub cookie_lifetime: Duration,
    /// How long a token that was found good is believed without asking the store.
    pub cache: Duration,
    pub password: PasswordRules,
    /// Who signs in users besides, if somebody does.
    pub oidc: Option<Oidc>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_hours(1);
        Self {
            bearer_lifetime: 24 * HOUR,
            cookie_idle: 12 * HOUR,
            cookie_lifetime: 7 * 24 * HOUR,
            cache: Duration::from_secs(5),
            password: PasswordRules::default(),
            oidc: None,
        }
    }
}

/// Why somebody was not let in, or a user was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The same whether the user or the password is wrong.
    #[error("the user name or the password is wrong")]
    WrongPassword,
    #[error("too many attempts to sign in; wait {} seconds", retry_after.as_secs())]
    Throttled { retry_after: Duration },
    #[error("the session or token is unknown or over; sign in again")]
    UnknownToken,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("user name `{0}` is not valid; it may hold 1 to 250 letters, digits and `_-.@+'!#^~`")]
    UserName(String),
    #[error("user `{0}` exists already")]
    UserExists(String),
    #[error("user `{0}` does not exist")]
    UnknownUser(String),
    #[error("`{0}` is the last admin; make another one first")]
    LastAdmin(String),
    #[error("there is no token {0} that you may revoke")]
    NoSuchToken(i64),
    #[error("a token can't make another; sign in with a password, as `airlock login` does")]
    TokenByToken,
    #[error("a token can't change its user's password; sign in with the password")]
    PasswordByToken,
    #[error(
        "a token ends nothing but itself, and does not change its user; sign in with a password, as `airlock login` does"
    )]
    EndByToken,
    #[error("user `{0}` is signed in by a provider, and has no password here")]
    PasswordOfVouched(String),
    #[error("nobody but this server signs in users here; sign in with a password")]
    NoProvider,
    #[error(transparent)]
    Provider(#[from] OidcError),
    #[error(transparent)]
    NotLetIn(SignInError),
    #[error(
        "you were recognised as `{0}`, but there is another user of that name here; ask an admin to delete or rename one of them"
    )]
    NameTaken(String),
    #[error("the present password is not right")]
    PresentPassword,
    #[error("only admins see and make tokens of other users")]
    TokenOfOther,
    #[error("the user has a token `{0}` already; revoke it, or choose another name")]
    TokenExists(String),
    #[error("the token's name is not valid; it may hold 1 to 100 characters")]
    TokenName,
    #[error("a token of role {role} can't be made; the strongest is {limit} here")]
    TokenRole { role: Role, limit: Role },
    #[error(transparent)]
    DagPermission(#[from] DagPermissionError),
    #[error("a token is good for 1 to 366 days")]
    TokenLifetime,
    #[error("the user has {} tokens already; revoke some", tokens::MAX_TOKENS)]
    TooManyTokens,
    #[error("{}", match .0 {
        Full::One => "you listen to 128 streams of events and logs already; close some",
        Full::All => "too many clients listen to events and logs; try again later",
    })]
    TooManyListeners(Full),
    #[error("users or sessions could not be read")]
    Store(#[from] StoreError),
}

/// The doorkeeper. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Clock,
    config: AuthConfig,
    passwords: Passwords,
    throttle: Throttle,
    cache: Mutex<LruCache<[u8; 32], Verified>>,
    audit: Outbox,
    denials: Mutex<Denials>,
    /// When sessions that are over were deleted last.
    cleaned_at: Mutex<Timestamp>,
    /// Told when somebody's rights changed, or a session or token ended.
    changed: watch::Sender<()>,
    listeners: Shares<String>,
}

/// The place of a request that lasts; free again when it is dropped.
pub type Listener = Share<String>;

impl Auth {
    pub fn new(config: AuthConfig, store: Store, clock: Clock) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                clock,
                passwords: Passwords::new(config.password),
                config,
                throttle: Throttle::default(),
                cache: Mutex::new(LruCache::new(CACHED_TOKENS)),
                audit: Outbox::default(),
                denials: Mutex::default(),
                cleaned_at: Mutex::new(Timestamp::default()),
                changed: watch::Sender::default(),
                listeners: Shares::new(MAX_LISTENERS, MAX_LISTENERS_OF_USER),
            }),
        }
    }

    /// A place for a request of `user` that lasts, so that nobody listens to everything and keeps others from it.
    ///
    /// # Errors
    /// If there is none.
    pub fn listen(&self, user: &CurrentUser) -> Result<Listener, AuthError> {
        self.inner.listeners.take(&user.username, 1).map_err(AuthError::TooManyListeners)
    }
}
