//! Brings a backup back.

use std::{fs, path::Path};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    BACKUPS, BackupError, OURS, copy,
    create::EntryReader,
    file_error,
    manifest::{Entry, Manifest, object_key},
};
use crate::{blobs::Blobs, model::agreement::STORAGE, store};

/// Objects that are copied at a time.
const COPIES: usize = 8;
/// Objects that are damaged or not there, and are named.
const NAMED: usize = 1_000;

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    pub objects: u64,
    /// Objects that the backup should hold and does not, or not as they were; up to 1,000 of them.
    pub lost: Vec<String>,
    pub lost_count: u64,
}

/// Restores a backup: its objects into `blobs`, then its database as `airlock.db` in `data_dir`, and its secret key if it has
/// one. Both places are empty, or hold what an earlier try restored of the same backup.
///
/// # Errors
/// If the backup is of a newer schema, its database is damaged, or something can't be read or written.
pub async fn restore(
    backups: &Blobs,
    manifest: &Manifest,
    data_dir: &Path,
    blobs: &Blobs,
) -> Result<Restored, BackupError> {
    if manifest.migrations.iter().any(|number| store::migrations().all(|known| known != *number)) {
        return Err(BackupError::Newer { version: manifest.airlock_version.clone() });
    }
    let database = data_dir.join("airlock.db.restoring");
    copy::unpack(backups, &manifest.database_key(), &database, &manifest.database).await?;
    let index = data_dir.join("index.restoring");
    copy::unpack(backups, &manifest.index_key(), &index, &manifest.index).await?;

    let mut restored = Restored { lost: manifest.missing.clone(), ..Restored::default() };
    restored.lost_count = restored.lost.len() as u64;
    let mut reader = EntryReader::open(&index)?;
    loop {
        let (back, entries) = reader.next(&index).await?;
        reader = back;
        if entries.is_empty() {
            break;
        }
        let copies = stream::iter(entries).map(async |entry: Entry| {
            let done = copy_one(backups, blobs, &entry).await?;
            Ok::<_, BackupError>((entry.key, done))
        });
        let done: Vec<(String, bool)> = copies.buffer_unordered(COPIES).try_collect().await?;
        for (key, is_there) in done {
            if is_there {
                restored.objects += 1;
            } else {
                restored.lost_count += 1;
                if restored.lost.len() < NAMED {
                    restored.lost.push(key);
                }
            }
        }
    }

    if manifest.has_key {
        let key = super::of(BACKUPS, backups.get(&manifest.secret_key()).await)?;
        let key = key.ok_or_else(|| BackupError::Missing(manifest.secret_key()))?;
        let path = data_dir.join("secret.key");
        write_key(&path, &key).map_err(file_error(&path))?;
    }
    fs::remove_file(&index).map_err(file_error(&index))?;
    // Its objects are in another storage now: that of the first who leads with it.
    store::setting_forget(&database, STORAGE).await?;
    // Last: until then there is no database here.
    let to = data_dir.join("airlock.db");
    fs::rename(&database, &to).map_err(file_error(&to))?;
    fs::File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(file_error(data_dir))?;
    Ok(restored)
}

/// Whether it is there now, as it was.
async fn copy_one(backups: &Blobs, blobs: &Blobs, entry: &Entry) -> Result<bool, BackupError> {
    let from = object_key(&entry.key);
    match copy::object((backups, &from, BACKUPS), (blobs, &entry.key, OURS), Some(entry.sha256)).await {
        Ok(copied) => Ok(copied.is_some()),
        Err(BackupError::Damaged(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// For this user only.
fn write_key(path: &Path, key: &[u8]) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(key)?;
    file.sync_all()
}
