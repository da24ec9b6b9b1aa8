//! What can go wrong with keys and sealed values.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("can't read or make the key file `{path}`")]
    KeyFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the key file `{path}` can be read by others (mode {mode:03o}); run `chmod 600 {path}` and consider its keys known"
    )]
    KeyFileOpen { path: PathBuf, mode: u32 },
    #[error("the key command `{command}` gave no key: {why}")]
    KeyCommand { command: String, why: String },
    /// There is none, and a new one would not do.
    #[error(
        "there is no secret key: none is named, and there is no `{path}`; what is in the database is sealed with one"
    )]
    Missing { path: PathBuf },
    #[error("keys can come from one place only; set one of `secret_key`, `secret_key_file` and `secret_key_command`")]
    SeveralSources,
    #[error("{place} holds no key of 32 bytes in base64; make one with `openssl rand -base64 32`")]
    Malformed { place: String },
    #[error(
        "{place} holds a key that can be guessed (most of its bytes are the same); make one with `openssl rand -base64 32`"
    )]
    Guessable { place: String },
    /// The key is not the one with which this installation's secrets were sealed.
    #[error(
        "the secret key is not the one that this installation's secrets were sealed with; give the right one in `AIRLOCK_SECRET_KEY`, in its key file or by its key command"
    )]
    WrongKey,
    /// The value was changed, cut, or moved from another row.
    #[error("a sealed value of `{place}` can't be opened: it was changed, or sealed for another place")]
    Broken { place: String },
}
