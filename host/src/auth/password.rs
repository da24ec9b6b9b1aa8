//! Passwords: argon2id, few at a time, and as slow for unknown users as for known ones.

use std::{collections::BTreeSet, sync::Arc};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::{OnceCell, Semaphore, oneshot};

/// The longest password in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1_024;
/// The shortest password in characters.
const MIN_PASSWORD_CHARS: usize = 8;
/// Words that guessers begin with, of 8 characters or more once what stands around them is taken off, or worth it in any length.
const KNOWN: &[&str] = &[
    "password",
    "passw0rd",
    "p@ssword",
    "p@ssw0rd",
    "passwort",
    "motdepasse",
    "contrasena",
    "administrator",
    "changeme",
    "changeit",
    "letmein",
    "iloveyou",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "basketball",
    "superman",
    "batman",
    "trustno1",
    "whatever",
    "starwars",
    "computer",
    "internet",
    "corvette",
    "mercedes",
    "jennifer",
    "michelle",
    "michael",
    "jonathan",
    "samantha",
    "victoria",
    "alexander",
    "butterfly",
    "chocolate",
    "liverpool",
    "welcome",
    "qwerty",
    "qwertyui",
    "qwertyuiop",
    "qwertz",
    "qwertzui",
    "azerty",
    "asdfghjk",
    "asdfghjkl",
    "zxcvbnm",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "q1w2e3r4",
    "qazwsxedc",
    "zaq12wsx",
    "abcd1234",
    "abc123",
    "a1b2c3d4",
    "pokemon",
    "minecraft",
    "dragon",
    "monkey",
    "shadow",
    "master",
    "secret",
    "testtest",
    "test",
    "guest",
    "default",
    "login",
    "airflow",
    "airlock",
    "admin",
    "root",
    "user",
    "google",
    "samsung",
    "summer",
    "winter",
    "spring",
    "autumn",
    "hunter2",
];
/// Fewer different characters than these are a pattern, not a password.
const MIN_DIFFERENT: usize = 4;

/// A password that can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("the password is too short; use at least 8 characters")]
    TooShort,
    #[error("the password is too long; use at most 1024 bytes")]
    TooLong,
    #[error("the password is one that everybody tries first; choose another")]
    WellKnown,
    #[error("the password is little more than the user name; choose another")]
    UserName,
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

    /// Whether `password` may be that of `username`.
    pub(super) fn check_rules(password: &str, username: &str) -> Result<(), PasswordError> {
        if password.len() > MAX_PASSWORD_BYTES {
            Err(PasswordError::TooLong)
        } else if password.chars().count() < MIN_PASSWORD_CHARS {
            Err(PasswordError::TooShort)
        } else if is_guessed(password) {
            Err(PasswordError::WellKnown)
        } else if is_mostly(password, username) {
            Err(PasswordError::UserName)
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
        let (done, result) = oneshot::channel();
        // A thread of its own: each of the runtime's would keep the memory of a hash for the next, once it made one.
        let thread = std::thread::Builder::new().name("password".to_owned()).spawn(move || {
            // The slot goes along: a request that is given up does not free it before the hash is done.
            let _slot = slot;
            let _ = done.send(work());
        });
        thread.ok()?;
        result.await.ok()
    }
}

/// Whether `password` is a word of the list with something before or after it, a repetition, or a row as `12345678`.
fn is_guessed(password: &str) -> bool {
    let lower = password.to_lowercase();
    let word = lower.trim_matches(|c: char| !c.is_alphabetic());
    let is_known = KNOWN.contains(&lower.as_str()) || KNOWN.contains(&word);
    // All that is left of a row is how far its characters are apart.
    let steps =
        || lower.chars().zip(lower.chars().skip(1)).map(|(a, b)| i64::from(u32::from(b)) - i64::from(u32::from(a)));
    let is_row = steps().filter(|step| step.abs() == 1).count() + 2 > lower.chars().count();
    let different: BTreeSet<_> = lower.chars().collect();
    is_known || is_row || different.len() < MIN_DIFFERENT
}

/// Whether without the user name there is no more than half a password.
fn is_mostly(password: &str, username: &str) -> bool {
    let (lower, name) = (password.to_lowercase(), username.to_lowercase());
    name.chars().count() >= 3
        && lower.contains(&name)
        && lower.replace(&name, "").chars().count() <= MIN_PASSWORD_CHARS / 2
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
        let check = |password: &str| Passwords::check_rules(password, "ada.lovelace");
        assert_eq!(check("short"), Err(PasswordError::TooShort));
        assert_eq!(check(&"xyz1".repeat(257)), Err(PasswordError::TooLong));
        assert_eq!(check(&"xyz1".repeat(256)), Ok(()));
        for guessed in [
            "Password",
            "password123!",
            "12345678",
            "87654321",
            "abcdefgh",
            "aaaaaaaaaa",
            "abababab",
            "2026Winter",
            "Qwertyuiop1",
        ] {
            assert_eq!(check(guessed), Err(PasswordError::WellKnown), "{guessed}");
        }
        for own in ["ada.lovelace", "Ada.Lovelace1", "2026ada.lovelace"] {
            assert_eq!(check(own), Err(PasswordError::UserName), "{own}");
        }
        for good in [
            "correct horse battery staple",
            "adminpass123",
            "ada.lovelace writes",
            "Tr0ub4dor&3",
            "\u{1f40e}\u{1f50b}\u{1f4ce}\u{2714}\u{1f511}\u{1f4a1}\u{1f3a9}\u{1f34b}",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(passwords.hash(&"x".repeat(1_025)).await, Err(PasswordError::TooLong));
    }
}
