//! What belongs to a backup.

use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::{BACKUPS, BackupError, of};
use crate::{
    blobs::Blobs,
    model::{ids::Digest, time::Timestamp},
};

/// The form of backups that this version makes and reads.
pub const FORMAT: u32 = 1;

/// Where what belongs to one backup alone is, but for its manifest.
pub const OF_ONE: [&str; 3] = ["databases", "indexes", "keys"];

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// When it was made, as `20261121T060000123Z`.
    pub id: String,
    pub created_at: Timestamp,
    /// Of the airlock that made it.
    pub airlock_version: String,
    /// The migrations that the database went through.
    pub migrations: Vec<i64>,
    pub database: File,
    pub index: File,
    /// Objects that it names.
    pub objects: u64,
    pub objects_bytes: u64,
    /// Objects that rows name and that were not there; at most 100 of them.
    pub missing: Vec<String>,
    pub has_key: bool,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Before it was compressed.
    pub size_bytes: u64,
    pub sha256: Digest,
}

/// A line of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    pub size_bytes: u64,
    pub sha256: Digest,
}

impl Manifest {
    /// The id of a backup that is made now.
    pub fn id_at(now: Timestamp) -> String {
        now.to_utc().format("%Y%m%dT%H%M%S%3fZ").to_string()
    }

    pub fn key(id: &str) -> String {
        format!("backups/{id}.json")
    }

    pub fn database_key(&self) -> String {
        format!("databases/{}.db.zst", self.id)
    }

    pub fn index_key(&self) -> String {
        format!("indexes/{}.jsonl.zst", self.id)
    }

    pub fn secret_key(&self) -> String {
        format!("keys/{}", self.id)
    }

    /// What belongs to it alone; first what makes it a backup.
    pub fn own_keys(&self) -> [String; 4] {
        [Self::key(&self.id), self.database_key(), self.index_key(), self.secret_key()]
    }
}

/// Where an object is in the storage of backups.
pub fn object_key(key: &str) -> String {
    format!("objects/{key}")
}

/// All backups that are complete, oldest first.
///
/// # Errors
/// If the storage can't be read.
pub async fn list(backups: &Blobs) -> Result<Vec<Manifest>, BackupError> {
    let keys: Vec<_> = of(BACKUPS, of(BACKUPS, backups.list("backups"))?.map_ok(|info| info.key).try_collect().await)?;
    let mut manifests = Vec::with_capacity(keys.len());
    for key in keys {
        manifests.extend(read(backups, &key).await?);
    }
    manifests.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(manifests)
}

/// The backup `id`; without, the newest.
///
/// # Errors
/// If there is none.
pub async fn find(backups: &Blobs, id: Option<&str>) -> Result<Manifest, BackupError> {
    let found = match id {
        // An id is a name, not a path.
        Some(id) if id.chars().all(|letter| letter.is_ascii_alphanumeric()) => {
            read(backups, &Manifest::key(id)).await?
        }
        Some(_) => None,
        None => list(backups).await?.pop(),
    };
    found.ok_or_else(|| BackupError::NotFound(id.map(str::to_owned)))
}

async fn read(backups: &Blobs, key: &str) -> Result<Option<Manifest>, BackupError> {
    let Some(bytes) = of(BACKUPS, backups.get(key).await)? else { return Ok(None) };
    // What a newer version added is no reason to say that it is damaged.
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| BackupError::Damaged(key.into()))?;
    if manifest["format"].as_u64() != Some(FORMAT.into()) {
        let version = manifest["airlock_version"].as_str().unwrap_or("of another format").to_owned();
        return Err(BackupError::Newer { version });
    }
    serde_json::from_value(manifest).map(Some).map_err(|_| BackupError::Damaged(key.into()))
}
