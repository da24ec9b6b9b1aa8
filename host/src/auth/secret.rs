//! Secrets of sessions and tokens: made, recognised, and hashed for the store.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::TryRng;
use sha2::{Digest, Sha256};

/// What every session's secret begins with, so that scanners for leaked secrets find it.
const PREFIX: &str = "alk_";
/// What every API token begins with.
const TOKEN_PREFIX: &str = "airlock_";
const SECRET_BYTES: usize = 32;
/// 32 bytes in base64 without padding.
const ENCODED_BYTES: usize = 43;

/// 256 random bits as text.
pub(super) fn generate() -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()))
}

/// The text of an API token: 256 random bits.
pub(super) fn generate_token() -> String {
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()))
}

/// Whether it looks like an API token, not like a session.
pub(super) fn is_token(secret: &str) -> bool {
    secret.starts_with(TOKEN_PREFIX)
}

/// A password that a person can copy: 120 random bits.
pub(super) fn generate_password() -> String {
    URL_SAFE_NO_PAD.encode(random::<15>())
}

/// What the store keeps of `secret`. None: it can't be one of ours.
pub(super) fn hash(secret: &str) -> Option<[u8; 32]> {
    let encoded = secret.strip_prefix(PREFIX).or_else(|| secret.strip_prefix(TOKEN_PREFIX))?;
    let plain = encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (encoded.len() == ENCODED_BYTES && plain).then(|| Sha256::digest(secret).into())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the operating system has a random generator");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_recognised_and_differ() {
        let (one, two) = (generate(), generate());
        assert_ne!(one, two);
        assert_ne!(hash(&one), hash(&two));
        assert!(hash(&one).is_some());
        for foreign in ["", "alk_", "alk_short", &one[1..], &format!("{one}x"), &one.replace("alk_", "blk_")] {
            assert_eq!(hash(foreign), None, "{foreign}");
        }
        let token = generate_token();
        assert!(hash(&token).is_some() && is_token(&token) && !is_token(&one));
        assert_eq!(generate_password().len(), 20);
    }
}
