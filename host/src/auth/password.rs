//! Passwords: argon2id, few at a time, and as slow for unknown users as for known ones.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::{OnceCell, Semaphore};

/// The longest password in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1_024;
/// The shortest password in characters.
const MIN_PASSWORD_CHARS: usize = 8;
/// Passwords that are in every guesser's list although they are long enough.
const KNOWN: &[&str] = &["password", "password1", "12345678", "123456789", "changeme", "administrator"];

/// A password that can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("the password is too short; use at least 8 characters")]
    TooShort,
    #[error("the password is too long; use at most 1024 bytes")]
    TooLong,
    #[error("the password is one that everybody tries first; choose another")]
    WellKnown,
    #[error("the password could not be hashed")]
    Hash,
}

/// What a guess costs. The default is OWASP's minimum for argon2id.
#[derive(Debug, Clone, Copy)]
pub struct PasswordRules {
    pub memory_kib: u32,
    pub passes: u32,
}

impl Default for PasswordRules {
    fn default() -> Self {
        Self { memory_kib: 19 * 1_024, passes: 2 }
    }
}

/// Hashes and checks passwords, at most one on each core at a time.
pub(super) struct Passwords {
    hasher: Argon2<'static>,
    slots: Arc<Semaphore>,
    /// The hash of a password that nobody has: unknown users are checked against it.
    nobody: OnceCell<String>,
}

impl Passwords {
    pub(super) fn new(rules: PasswordRules) -> Self {
        let params = Params::new(rules.memory_kib, rules.passes, 1, None).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, Into::into);
        Self {
            hasher: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            slots: Arc::new(Semaphore::new(cores)),
            nobody: OnceCell::new(),
        }
    }

    /// Whether `password` may be somebody's.
    pub(super) fn check_rules(password: &str) -> Result<(), PasswordError> {
        if password.len() > MAX_PASSWORD_BYTES {
            Err(PasswordError::TooLong)
        } else if password.chars().count() < MIN_PASSWORD_CHARS {
            Err(PasswordError::TooShort)
        } else if KNOWN.contains(&password.to_lowercase().as_str()) {
            Err(PasswordError::WellKnown)
        } else {
            Ok(())
        }
    }

    /// The PHC string of `password`.
    pub(super) async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::TooLong);
        }
        let hasher = self.hasher.clone();
        let password = zeroize::Zeroizing::new(password.to_owned());
        self.on_a_core(move || {
            hasher.hash_password(password.as_bytes()).map(|hash: PasswordHash| hash.to_string()).ok()
        })
        .await
        .flatten()
        .ok_or(PasswordError::Hash)
    }

    /// Whether `password` belongs to `hash`; none is an unknown user, and takes as long.
    pub(super) async fn verify(&self, password: &str, hash: Option<&str>) -> bool {
        if password.len() > MAX_PASSWORD_BYTES {
            return false;
        }
        let known = hash.is_some();
        let hash = match hash {
            Some(hash) => hash.to_owned(),
            None => match self.nobody.get_or_try_init(|| self.hash("nobody has this password")).await {
                Ok(hash) => hash.clone(),
                Err(_) => return false,
            },
        };
        let hasher = self.hasher.clone();
        let password = zeroize::Zeroizing::new(password.to_owned());
        let right = self.on_a_core(move || {
            PasswordHash::new(&hash).is_ok_and(|hash| hasher.verify_password(password.as_bytes(), &hash).is_ok())
        });
        right.await.unwrap_or(false) && known
    }

    async fn on_a_core<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        // The slot goes along: a request that is given up does not free it before the hash is done.
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        })
        .await
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_salted_and_good_for_its_password_only() {
        let passwords = Passwords::new(PasswordRules { memory_kib: 64, passes: 1 });
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse").await.unwrap());
        assert!(passwords.verify("correct horse", Some(&hash)).await);
        assert!(!passwords.verify("wrong horse", Some(&hash)).await);
        assert!(!passwords.verify("nobody has this password", None).await);
        assert!(!passwords.verify("x", Some("not a hash")).await);
    }

    #[tokio::test]
    async fn passwords_have_bounds() {
        let passwords = Passwords::new(PasswordRules { memory_kib: 64, passes: 1 });
        assert_eq!(Passwords::check_rules("short"), Err(PasswordError::TooShort));
        assert_eq!(Passwords::check_rules("Password"), Err(PasswordError::WellKnown));
        assert_eq!(Passwords::check_rules(&"x".repeat(1_025)), Err(PasswordError::TooLong));
        assert_eq!(Passwords::check_rules(&"x".repeat(1_024)), Ok(()));
        assert_eq!(passwords.hash(&"x".repeat(1_025)).await, Err(PasswordError::TooLong));
    }
}
