//! The ring of keys: the first seals, all of them open.
//!
//! A sealed value is `1 | key id (8) | nonce (24) | XChaCha20-Poly1305 ciphertext and tag`. The associated data is
//! the header and the value's place (`table|row|field`), so that a value opens in its own place only.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{SecretString, SecretsError};

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES;
/// A key file with more than this is not one.
const KEY_FILE_MAX_BYTES: u64 = 64 << 10;
/// The place of the value by which a wrong key is noticed.
const CHECK_PLACE: &str = "setting|key_check|value";

/// Where the keys come from.
#[derive(Debug, Clone, Default)]
pub struct SecretsConfig {
    /// Keys of 32 bytes in base64, divided by commas; the first seals, the others open what they sealed before
    /// (`AIRLOCK_SECRET_KEY`). None: they stand in the key file, one in a line.
    pub key: Option<SecretString>,
    /// None: `secret.key` in the data directory.
    pub key_file: Option<PathBuf>,
}

/// Seals and opens. Clones share the keys.
#[derive(Clone)]
pub struct Secrets {
    keys: Arc<[Key]>,
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Key {
    fn new(bytes: &[u8; 32]) -> Self {
        let hash = Sha256::new().chain_update(b"airlock key id\0").chain_update(bytes).finalize();
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash[..KEY_ID_BYTES]);
        Self { id, cipher: XChaCha20Poly1305::new(bytes.into()) }
    }
}

impl Secrets {
    /// Takes the key that is given, or that of the key file, which is made with a new key if it is not there.
    ///
    /// # Errors
    /// If there is no key in them, or if others may read the file.
    pub fn open(config: &SecretsConfig, data_dir: &Path) -> Result<Self, SecretsError> {
        if let Some(keys) = &config.key {
            return Self::parse(keys.expose().split(','), || "`AIRLOCK_SECRET_KEY`".to_owned());
        }
        let path = config.key_file.clone().unwrap_or_else(|| data_dir.join("secret.key"));
        let failed = |source| SecretsError::KeyFile { path: path.clone(), source };
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_key_file(&path).map_err(failed)?;
                File::open(&path).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretsError::KeyFileOpen { path, mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(KEY_FILE_MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        Self::parse(lines, || format!("the key file `{}`", path.display()))
    }

    fn parse<'a>(texts: impl Iterator<Item = &'a str>, place: impl Fn() -> String) -> Result<Self, SecretsError> {
        let malformed = || SecretsError::Malformed { place: place() };
        let mut keys = Vec::new();
        for text in texts {
            let bytes = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| malformed())?);
            let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| malformed())?;
            keys.push(Key::new(bytes));
        }
        if keys.is_empty() {
            return Err(malformed());
        }
        Ok(Self { keys: keys.into() })
    }

    /// Encrypts `plain` for `place`, as `variable|target|value`.
    ///
    /// # Panics
    /// If `plain` is longer than 256 GiB.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let key = &self.keys[0];
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let mut sealed = Vec::with_capacity(HEADER_BYTES + NONCE_BYTES + plain.len() + 16);
        sealed.push(VERSION);
        sealed.extend_from_slice(&key.id);
        let payload = Payload { msg: plain, aad: &associated(&sealed, place) };
        let ciphertext = key.cipher.encrypt(&nonce.into(), payload).expect("a value in memory is shorter than 256 GiB");
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
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
        if header[0] != VERSION {
            return Err(broken());
        }
        let key = self.keys.iter().find(|key| key.id == header[1..]).ok_or(SecretsError::WrongKey)?;
        let payload = Payload { msg: ciphertext, aad: &associated(header, place) };
        let plain = key.cipher.decrypt(&(*nonce).into(), payload).map_err(|_| broken())?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| broken())
    }

    /// A value to keep as the setting `key_check`, for [`Secrets::verify_key_check`] at later starts.
    pub fn key_check(&self) -> Vec<u8> {
        self.seal(CHECK_PLACE, b"airlock")
    }

    /// Refuses keys that are not those of this installation.
    pub fn verify_key_check(&self, value: &[u8]) -> Result<(), SecretsError> {
        self.unseal(CHECK_PLACE, value).map(drop)
    }
}

fn associated(header: &[u8], place: &str) -> Vec<u8> {
    [header, place.as_bytes()].concat()
}

/// Makes the file with a new key, whole or not at all; leaves one that somebody else made meanwhile.
fn make_key_file(path: &Path) -> std::io::Result<()> {
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
    let text = Zeroizing::new(format!("{}\n", BASE64.encode(*key)));
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = folder.join(format!(".secret.key.{}", uuid::Uuid::new_v4()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let made = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    });
    fs::remove_file(&temporary)?;
    made?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
