//! How a webhook's sender shows that it knows the secret: HMAC-SHA256 over all of a request that decides anything.

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

/// What a signature is over. One secret is good for all that a dag's webhook does, so what was signed for one place, or with one
/// key, must be good for no other.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Seconds since the epoch, as its header says.
    pub timestamp: &'a str,
    /// What stands behind `/hooks/`, decoded: `<dag_id>`, or `<dag_id>/<run_id>/<task_id>`, of a mapped task with `/<map_index>`.
    pub target: &'a str,
    /// The `Idempotency-Key`; empty if there is none.
    pub key: &'a str,
    pub body: &'a [u8],
}

/// The signature: `sha256=` and the HMAC-SHA256, in hexadecimal, over timestamp, target, key and body, with a line feed between
/// them. No part but the last can hold one.
#[cfg(test)]
pub fn sign(secret: &SecretString, signed: Signed<'_>) -> String {
    let bytes = mac(secret, signed).finalize().into_bytes();
    bytes.iter().fold(PREFIX.to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// The signature as [`sign`] writes it, if `signature` is that, in a time that does not tell how nearly. Letters may be large: whoever copies
/// a request can change that, so a request is known by what is answered here.
pub fn verify(secret: &SecretString, signed: Signed<'_>, signature: &str) -> Option<String> {
    let is_hex = |hex: &&str| hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    let hex = signature.strip_prefix(PREFIX).filter(is_hex)?;
    let byte = |at: usize| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok();
    let claimed = (0..32).map(byte).collect::<Option<Vec<u8>>>()?;
    mac(secret, signed).verify_slice(&claimed).ok().map(|()| format!("{PREFIX}{}", hex.to_ascii_lowercase()))
}

fn mac(secret: &SecretString, signed: Signed<'_>) -> Hmac<Sha256> {
    let Signed { timestamp, target, key, body } = signed;
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length");
    for part in [timestamp, target, key] {
        mac.update(part.as_bytes());
        mac.update(b"\n");
    }
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
    fn a_signature_is_good_for_its_secret_and_request_only() {
        let secret = SecretString::from("key".to_owned());
        let signed = Signed { timestamp: "1700000000", target: "shops", key: "order-7", body: b"{}" };
        // printf '1700000000\nshops\norder-7\n{}' | openssl dgst -sha256 -hmac key
        let signature = sign(&secret, signed);
        assert_eq!(signature, "sha256=42a38b27e02d7560e811c990fc1af983c7de27d6f8cff5251784036d114220e9");
        assert_eq!(verify(&secret, signed, &signature).as_ref(), Some(&signature));
        let large = signature.to_uppercase().replace("SHA256", "sha256");
        assert_eq!(verify(&secret, signed, &large), Some(signature.clone()), "it is one and the same");
        // What Rust takes for a number, and is no digit.
        assert!(signature.ends_with("20e9"));
        assert_eq!(verify(&secret, signed, &signature.replace("0e9", "+e9")), None);
        for other in [
            Signed { timestamp: "1700000001", ..signed },
            Signed { target: "shops/run/paid", ..signed },
            Signed { key: "order-8", ..signed },
            Signed { target: "shops\norder-7", key: "", ..signed },
            Signed { body: b"{ }", ..signed },
        ] {
            assert_eq!(verify(&secret, other, &signature), None, "{other:?}");
        }
        assert_eq!(verify(&SecretString::from("kez".to_owned()), signed, &signature), None);
        for wrong in ["", "sha256=", "sha1=00", &signature[..70], "sha256=zz"] {
            assert_eq!(verify(&secret, signed, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(fingerprint(&["a"]).len(), 32);
    }
}
