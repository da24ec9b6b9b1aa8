//! Encryption of secrets at rest, and masking of secrets in what tasks write.
//!
//! It promises that a copy of the database tells no secret, that a sealed value can't be moved to another row, and
//! that a wrong key is noticed at the start and not at the first use. What the key may see is not its business.

mod error;
pub mod hook;
mod masker;
pub mod place;
mod redact;
mod ring;
mod secret;
mod source;

pub use error::SecretsError;
pub use masker::{MaskStream, Masker, is_placeholder, placeholder};
pub use redact::{MASK, is_sensitive, redact, restore, sensitive_in};
pub use ring::{KeyId, Secrets, SecretsConfig, WrappedKey};
pub use secret::SecretString;
