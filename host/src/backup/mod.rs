//! Backups: the database as of one moment, and the objects that its rows name, in a folder or a bucket.
//!
//! ```text
//! backups/<id>.json           what belongs to the backup; written last: without it there is none
//! databases/<id>.db.zst       a copy of the database, compressed
//! indexes/<id>.jsonl.zst      the objects that it names, each with its size and SHA-256
//! keys/<id>                   the secret key, only if it was asked for
//! objects/<key>               the objects, shared by all backups
//! ```
//!
//! It promises: a backup is consistent while the server works, because the copy is of one moment and objects never change; an
//! object that is there is not copied again; what is restored is compared with the digests. It leaves out who may do it, and
//! when.

mod copy;
mod create;
mod manifest;
mod restore;
mod schedule;

use std::path::PathBuf;

pub use create::{Created, Plan, create};
pub use manifest::{Manifest, find, list};
pub use restore::{Restored, restore};
pub use schedule::{Schedule, on_schedule};

use crate::{blobs::BlobError, store::StoreError};

/// Why a backup can't be made or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the storage of `{which}` failed")]
    Blobs {
        which: &'static str,
        #[source]
        source: BlobError,
    },
    #[error("`{path}` can't be read or written")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("there is no backup{}; `airlock restore --list` shows those that there are", .0.as_ref().map(|id| format!(" `{id}`")).unwrap_or_default())]
    NotFound(Option<String>),
    #[error("`{0}` is not what the backup says it is; it is damaged or was changed")]
    Damaged(String),
    #[error("`{0}` belongs to the backup and is not there")]
    Missing(String),
    #[error("the backup is of a newer airlock ({version}); restore it with that version or a later one")]
    Newer { version: String },
    #[error("another backup is being made of this data directory")]
    Busy,
}

/// Says whose storage failed.
fn of<T>(which: &'static str, result: Result<T, BlobError>) -> Result<T, BackupError> {
    result.map_err(|source| BackupError::Blobs { which, source })
}

fn file_error(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.into();
    move |source| BackupError::File { path, source }
}

/// The storage that is backed up or restored.
const OURS: &str = "the server";
/// The storage of the backups.
const BACKUPS: &str = "the backups";
