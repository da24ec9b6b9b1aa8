//! The keys, and what they seal.
//!
//! Master keys come from outside, and are never stored. They seal the data keys, which are in the database and seal all else. So a new
//! data key needs nobody who has the master key at hand, and a new master key only new seals on a few data keys.
//!
//! A sealed value is `version | key id (8) | nonce (24) | XChaCha20-Poly1305 ciphertext and tag`. Version 1: the key is a master key,
//! version 2: a data key. The associated data is the header and the value's place (`table|row|field`), so that a value opens in its
//! own place only.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    SecretString, SecretsError,
    source::{self, Found},
};

/// Sealed by a master key.
const BY_MASTER: u8 = 1;
/// Sealed by a data key.
const BY_DATA_KEY: u8 = 2;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES;
/// The place of the value by which a wrong key is noticed.
const CHECK_PLACE: &str = "setting|key_check|value";

/// Where the master keys come from; from the key file if nothing else is named. Keys are 32 bytes in base64; the first seals, the others
/// open what they sealed before.
#[derive(Debug, Clone, Default)]
pub struct SecretsConfig {
    /// Keys divided by commas (`AIRLOCK_SECRET_KEY`).
    pub key: Option<SecretString>,
    /// Keys one in a line. None: `secret.key` in the data directory, which is made if it is not there.
    pub key_file: Option<PathBuf>,
    /// A command for the shell that prints keys one in a line.
    pub key_command: Option<String>,
}

/// Names a key without telling it: the beginning of a digest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; KEY_ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A data key as it is stored: sealed by a master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    pub id: KeyId,
    pub wrapped: Vec<u8>,
}

/// Seals and opens. Clones share the keys.
#[derive(Clone)]
pub struct Secrets {
    keys: Arc<Keys>,
}

struct Keys {
    masters: Vec<Key>,
    /// The first seals.
    data: RwLock<Arc<[Key]>>,
}

struct Key {
    id: KeyId,
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Key {
    fn new(bytes: &[u8; 32]) -> Self {
        let hash = Sha256::new().chain_update(b"airlock key id\0").chain_update(bytes).finalize();
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash[..KEY_ID_BYTES]);
        Self { id: KeyId(id), cipher: XChaCha20Poly1305::new(bytes.into()) }
    }

    /// Of the 32 bytes in base64 in `text`.
    fn seal(&self, version: u8, place: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let mut sealed = Vec::with_capacity(HEADER_BYTES + NONCE_BYTES + plain.len() + 16);
        sealed.push(version);
        sealed.extend_from_slice(&self.id.0);
        let payload = Payload { msg: plain, aad: &associated(&sealed, place) };
        let ciphertext =
            self.cipher.encrypt(&nonce.into(), payload).expect("a value in memory is shorter than 256 GiB");
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }
}

fn decode(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(BASE64.decode(text.trim()).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

/// Whether a key was typed and not drawn: of 32 random bytes fewer than 16 are different less than once in 2^64 times.
fn is_guessable(key: &[u8; 32]) -> bool {
    let different: BTreeSet<_> = key.iter().collect();
    different.len() < 16
}

impl Secrets {
    /// Takes the master keys that `config` names. None: it names none, and there is no key file yet ([`Secrets::make`]).
    ///
    /// # Errors
    /// If there is no key where it says, or if others may read the file.
    pub fn find(config: &SecretsConfig, data_dir: &Path) -> Result<Option<Self>, SecretsError> {
        source::read(config, data_dir)?.map(|found| Self::of(&found)).transpose()
    }

    /// That there is no key for `data_dir`, where a new one would not do.
    pub fn missing(data_dir: &Path) -> SecretsError {
        SecretsError::Missing { path: source::key_file(data_dir) }
    }

    /// Makes a key file in `data_dir`, for a database in which nothing is sealed yet.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn make(data_dir: &Path) -> Result<Self, SecretsError> {
        Self::of(&source::make(data_dir)?)
    }

    /// Takes the master keys that `config` names, and makes a key file if it names none.
    ///
    /// # Errors
    /// As [`Secrets::find`] and [`Secrets::make`].
    pub fn open(config: &SecretsConfig, data_dir: &Path) -> Result<Self, SecretsError> {
        Self::find(config, data_dir)?.map_or_else(|| Self::make(data_dir), Ok)
    }

    fn of(found: &Found) -> Result<Self, SecretsError> {
        let malformed = || SecretsError::Malformed { place: found.place.clone() };
        let read = |text| {
            let bytes = decode(text).ok_or_else(malformed)?;
            if is_guessable(&bytes) {
                return Err(SecretsError::Guessable { place: found.place.clone() });
            }
            Ok(Key::new(&bytes))
        };
        let keys: Vec<_> = found.texts().map(read).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(malformed());
        }
        Ok(Self { keys: Arc::new(Keys { masters: keys, data: RwLock::new(Arc::new([])) }) })
    }

    fn data(&self) -> Arc<[Key]> {
        Arc::clone(&self.keys.data.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The master key that seals.
    fn master(&self) -> &Key {
        // There is at least one, see `open`.
        &self.keys.masters[0]
    }

    /// Takes the data keys of the installation from now on; the first seals.
    ///
    /// # Errors
    /// If no master key opens one. Then nothing has changed.
    pub fn install(&self, keys: &[WrappedKey]) -> Result<(), SecretsError> {
        let open = |key: &WrappedKey| {
            let place = key_place(key.id);
            let text = self.unseal(&place, &key.wrapped)?;
            decode(text.expose())
                .map(|bytes| Key::new(&bytes))
                .filter(|own| own.id == key.id)
                .ok_or(SecretsError::Broken { place })
        };
        let keys = keys.iter().map(open).collect::<Result<_, _>>()?;
        *self.keys.data.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// A new data key. It seals nothing before it is installed.
    pub fn new_data_key(&self) -> WrappedKey {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
        let id = Key::new(&bytes).id;
        let text = Zeroizing::new(BASE64.encode(*bytes));
        WrappedKey { id, wrapped: self.master().seal(BY_MASTER, &key_place(id), text.as_bytes()) }
    }

    /// `key` sealed by the first master key; none if it is so already.
    ///
    /// # Errors
    /// If no master key opens it.
    pub fn rewrap(&self, key: &WrappedKey) -> Result<Option<WrappedKey>, SecretsError> {
        if key.wrapped.get(1..HEADER_BYTES) == Some(self.master().id.0.as_slice()) {
            return Ok(None);
        }
        let place = key_place(key.id);
        let text = self.unseal(&place, &key.wrapped)?;
        Ok(Some(WrappedKey { id: key.id, wrapped: self.master().seal(BY_MASTER, &place, text.expose().as_bytes()) }))
    }

    /// Encrypts `plain` for `place`, as `variable|target|value`.
    ///
    /// # Panics
    /// If `plain` is longer than 256 GiB.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        match self.data().first() {
            Some(key) => key.seal(BY_DATA_KEY, place, plain),
            None => self.master().seal(BY_MASTER, place, plain),
        }
    }

    /// Decrypts what was sealed for `place`.
    ///
    /// # Errors
    /// [`SecretsError::WrongKey`] if none of the keys sealed it, [`SecretsError::Broken`] if it is not whole or not
    /// sealed for this place.
    pub fn unseal(&self, place: &str, sealed: &[u8]) -> Result<SecretString, SecretsError> {
        let broken = || SecretsError::Broken { place: place.to_owned() };
        let (header, rest) = sealed.split_at_checked(HEADER_BYTES).ok_or_else(broken)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(broken)?;
        let data;
        let keys = match header[0] {
            BY_MASTER => self.keys.masters.as_slice(),
            BY_DATA_KEY => {
                data = self.data();
                &*data
            }
            _ => return Err(broken()),
        };
        let key = keys.iter().find(|key| key.id.0 == header[1..]).ok_or(SecretsError::WrongKey)?;
        let payload = Payload { msg: ciphertext, aad: &associated(header, place) };
        let plain = key.cipher.decrypt(&(*nonce).into(), payload).map_err(|_| broken())?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| broken())
    }

    /// How values begin that are sealed now. Those that begin otherwise were sealed by an earlier key.
    pub fn header(&self) -> Vec<u8> {
        let (version, id) = self.data().first().map_or((BY_MASTER, self.master().id), |key| (BY_DATA_KEY, key.id));
        [&[version], id.0.as_slice()].concat()
    }

    /// The master keys, the one that seals first.
    pub fn master_ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.masters.iter().map(|key| key.id)
    }

    /// A value to keep as the setting `key_check`, for [`Secrets::verify_key_check`] at later starts.
    pub fn key_check(&self) -> Vec<u8> {
        self.master().seal(BY_MASTER, CHECK_PLACE, b"airlock")
    }

    /// Refuses keys that are not those of this installation.
    pub fn verify_key_check(&self, value: &[u8]) -> Result<(), SecretsError> {
        self.unseal(CHECK_PLACE, value).map(drop)
    }
}

/// Where a data key stands.
fn key_place(id: KeyId) -> String {
    format!("data_key|{id}|key")
}

fn associated(header: &[u8], place: &str) -> Vec<u8> {
    [header, place.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
