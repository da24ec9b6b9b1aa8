//! How a webhook's sender shows that it knows the secret: HMAC-SHA256 over an instant and the body.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng as _;
use sha2::{Digest, Sha256};

use super::SecretString;

/// What every secret begins with, so that scanners for leaked secrets find it.
const SECRET_PREFIX: &str = "alw_";
/// What a signature begins with.
const PREFIX: &str = "sha256=";

/// A new secret: 256 random bits as text.
///
/// # Panics
/// If the operating system has no random generator.
pub fn generate() -> String {
    let mut bytes = [0_u8; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the operating system has a random generator");
    format!("{SECRET_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// The signature of `body`, sent at `timestamp` (seconds since the epoch, as its header says): `sha256=` and the HMAC-SHA256,
/// in hexadecimal, over the timestamp, a full stop and the body.
pub fn sign(secret: &SecretString, timestamp: &str, body: &[u8]) -> String {
    let bytes = mac(secret, timestamp, body).finalize().into_bytes();
    bytes.iter().fold(PREFIX.to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Whether `signature` is [`sign`]'s, in a time that does not tell how nearly.
pub fn verify(secret: &SecretString, timestamp: &str, body: &[u8], signature: &str) -> bool {
    let Some(hex) = signature.strip_prefix(PREFIX).filter(|hex| hex.len() == 64 && hex.is_ascii()) else {
        return false;
    };
    let byte = |at: usize| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok();
    let Some(claimed) = (0..32).map(byte).collect::<Option<Vec<u8>>>() else { return false };
    mac(secret, timestamp, body).verify_slice(&claimed).is_ok()
}

fn mac(secret: &SecretString, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

/// What stands for `parts` in the id of a run: 128 bits of their SHA-256, in hexadecimal.
pub fn fingerprint(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_its_secret_instant_and_body_only() {
        let secret = SecretString::from("key".to_owned());
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let signature = sign(&secret, "1700000000", b"{}");
        assert!(signature.starts_with("sha256=") && signature.len() == 71, "{signature}");
        assert!(verify(&secret, "1700000000", b"{}", &signature));
        assert!(verify(&secret, "1700000000", b"{}", &signature.to_uppercase().replace("SHA256", "sha256")));
        assert!(!verify(&secret, "1700000001", b"{}", &signature));
        assert!(!verify(&secret, "1700000000", b"{ }", &signature));
        assert!(!verify(&SecretString::from("kez".to_owned()), "1700000000", b"{}", &signature));
        for wrong in ["", "sha256=", "sha1=00", &signature[..70], "sha256=zz"] {
            assert!(!verify(&secret, "1700000000", b"{}", wrong), "{wrong}");
        }
    }

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(fingerprint(&["a"]).len(), 32);
    }
}
