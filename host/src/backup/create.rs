//! Makes a backup.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    num::NonZeroU32,
    os::unix::fs::{MetadataExt as _, lchown},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    BACKUPS, BackupError, OURS, copy, file_error,
    manifest::{self, Entry, FORMAT, File, Manifest, OF_ONE, object_key},
    of,
};
use crate::{
    blobs::{BlobInfo, Blobs, keys},
    model::{ids::Digest, time::Timestamp},
    store::{self, Inventory, KeptBlob, MAX_PAGE, Store},
};

/// Objects that are copied at a time.
const COPIES: usize = 8;
/// Objects that are compared at a time.
const BATCH: usize = 1_000;
/// Nobody who makes a backup, on whatever machine, takes so long from the copy of the database to the manifest.
const ABANDONED: Duration = Duration::from_hours(1);
/// Objects that were not there and are named in the manifest.
const MISSING_NAMED: usize = 100;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub manifest: Manifest,
    /// Objects that were not in the storage of backups before.
    pub copied: u64,
    pub copied_bytes: u64,
    /// Older backups that are deleted.
    pub pruned: u64,
}

/// What is backed up, and where to.
pub struct Plan<'a> {
    pub store: &'a Store,
    /// For what is needed meanwhile.
    pub data_dir: &'a Path,
    pub blobs: &'a Blobs,
    pub backups: &'a Blobs,
    /// The secret key, if it is to be in the backup.
    pub key: Option<Vec<u8>>,
    /// Backups that stay, this one counted; none: all.
    pub keep: Option<NonZeroU32>,
}

/// Makes a backup of what is there at this moment. The server may work on.
///
/// # Errors
/// If something can't be read or written; then there is no such backup, and the next one goes on from what was copied.
pub async fn create(plan: &Plan<'_>, now: Timestamp) -> Result<Created, BackupError> {
    let Plan { store, data_dir, blobs, backups, key, keep } = plan;
    let folder = Scratch::new(data_dir).await?;
    let earlier = manifest::list(backups).await?;
    let abandoned = now.before(ABANDONED);
    if keep.is_some() {
        delete_unfinished(backups, &earlier, abandoned).await?;
    }
    let id = Manifest::id_at(now);

    let database = folder.file("airlock.db");
    store.snapshot(&database).await?;
    let mut inventory = Inventory::read_file(&database, &folder.file("inventory.db")).await?;
    name_components(store, &mut inventory).await?;
    if let Some(last) = earlier.last() {
        load_index(backups, last, &folder, &mut inventory).await?;
    }
    see_kept(backups, &mut inventory).await?;
    let (copied, copied_bytes, missing) = copy_objects(blobs, backups, &mut inventory).await?;

    let mut manifest = Manifest {
        format: FORMAT,
        id,
        created_at: now,
        airlock_version: env!("CARGO_PKG_VERSION").to_owned(),
        migrations: store::migrations().collect(),
        database: File { size_bytes: 0, sha256: Digest([0; 32]) },
        index: File { size_bytes: 0, sha256: Digest([0; 32]) },
        objects: 0,
        objects_bytes: 0,
        missing,
        has_key: key.is_some(),
    };
    manifest.database = copy::pack(&database, backups, &manifest.database_key()).await?;
    let index = folder.file("index.jsonl");
    (manifest.objects, manifest.objects_bytes) = write_index(&mut inventory, &index).await?;
    manifest.index = copy::pack(&index, backups, &manifest.index_key()).await?;
    if let Some(key) = key {
        of(BACKUPS, backups.put(&manifest.secret_key(), key.clone().into()).await)?;
    }
    let text = serde_json::to_vec_pretty(&manifest).map_err(|_| BackupError::Damaged(manifest.id.clone()))?;
    of(BACKUPS, backups.put(&Manifest::key(&manifest.id), text.into()).await)?;

    let pruned = match keep {
        Some(keep) => prune(backups, earlier, &manifest, *keep, abandoned, &folder, &mut inventory).await?,
        None => 0,
    };
    Ok(Created { manifest, copied, copied_bytes, pruned })
}

/// Adds the objects of all components.
async fn name_components(store: &Store, inventory: &mut Inventory) -> Result<(), BackupError> {
    let mut after = None;
    loop {
        let components = store.component_list_after(after, MAX_PAGE).await?;
        let Some(last) = components.last() else { return Ok(()) };
        after = Some(last.digest);
        for row in &components {
            inventory.name_component(&keys::component(&row.digest, row.module.kind)).await?;
        }
    }
}

/// Takes over what an earlier backup knows of its objects.
async fn load_index(
    backups: &Blobs,
    manifest: &Manifest,
    folder: &Scratch,
    inventory: &mut Inventory,
) -> Result<(), BackupError> {
    let path = folder.file("earlier.jsonl");
    copy::unpack(backups, &manifest.index_key(), &path, &manifest.index).await?;
    let mut reader = EntryReader::open(&path)?;
    loop {
        let (back, entries) = reader.next(&path).await?;
        reader = back;
        if entries.is_empty() {
            return Ok(());
        }
        let kept = entries.into_iter().map(KeptBlob::from).collect::<Vec<_>>();
        inventory.keep(&kept).await?;
    }
}

/// Forgets what somebody has deleted from the storage of backups.
async fn see_kept(backups: &Blobs, inventory: &mut Inventory) -> Result<(), BackupError> {
    let objects = of(BACKUPS, backups.list("objects"))?;
    let mut batches = objects.try_chunks(BATCH);
    while let Some(batch) = of(BACKUPS, batches.try_next().await.map_err(|error| error.1))? {
        let there = batch.into_iter().filter_map(|info| {
            let key = info.key.strip_prefix("objects/")?.to_owned();
            Some((key, i64::try_from(info.size_bytes).unwrap_or(i64::MAX)))
        });
        inventory.see_kept(&there.collect::<Vec<_>>()).await?;
    }
    inventory.forget_unkept().await?;
    Ok(())
}

/// Copies the objects that are missing. Answers how many and how large they were, and those that are not there.
async fn copy_objects(
    blobs: &Blobs,
    backups: &Blobs,
    inventory: &mut Inventory,
) -> Result<(u64, u64, Vec<String>), BackupError> {
    let (mut after, mut copied, mut bytes, mut missing) = (String::new(), 0, 0, Vec::new());
    loop {
        let wanted = inventory.wanted(&after, MAX_PAGE).await?;
        let Some(last) = wanted.last() else { return Ok((copied, bytes, missing)) };
        after.clone_from(last);
        let under_way = stream::iter(wanted).map(async |key: String| {
            let to = object_key(&key);
            let file = copy::object((blobs, &key, OURS), (backups, &to, BACKUPS), None).await?;
            Ok::<_, BackupError>((key, file))
        });
        let done: Vec<(String, Option<File>)> = under_way.buffer_unordered(COPIES).try_collect().await?;
        let mut kept = Vec::with_capacity(done.len());
        for (key, file) in done {
            match file {
                Some(File { size_bytes, sha256 }) => {
                    copied += 1;
                    bytes += size_bytes;
                    kept.push(KeptBlob::from(Entry { key, size_bytes, sha256 }));
                }
                // Deleted since the copy of the database was made, or lost.
                None if missing.len() < MISSING_NAMED => missing.push(key),
                None => {}
            }
        }
        inventory.keep(&kept).await?;
    }
}

/// Writes the index of what rows name and the storage of backups holds. Answers how many objects, and their bytes.
async fn write_index(inventory: &mut Inventory, path: &Path) -> Result<(u64, u64), BackupError> {
    let mut file = BufWriter::new(fs::File::create(path).map_err(file_error(path))?);
    let (mut after, mut objects, mut bytes) = (String::new(), 0, 0);
    loop {
        let kept = inventory.named_and_kept(&after, MAX_PAGE).await?;
        let Some(last) = kept.last() else { break };
        after.clone_from(&last.blob);
        for kept in kept {
            let entry = Entry::from(kept);
            objects += 1;
            bytes += entry.size_bytes;
            let line = serde_json::to_string(&entry).map_err(|_| BackupError::Damaged(entry.key))?;
            writeln!(file, "{line}").map_err(file_error(path))?;
        }
    }
    file.flush().map_err(file_error(path))?;
    Ok((objects, bytes))
}

/// Deletes what belongs to no backup, because the one that it was for failed or was killed: what was written before `before`.
async fn delete_unfinished(backups: &Blobs, earlier: &[Manifest], before: Timestamp) -> Result<(), BackupError> {
    let named: BTreeSet<String> = earlier.iter().flat_map(Manifest::own_keys).collect();
    for folder in OF_ONE {
        let listed: Vec<BlobInfo> = of(BACKUPS, of(BACKUPS, backups.list(folder))?.try_collect().await)?;
        let left = listed.into_iter().filter(|info| info.modified_at < before && !named.contains(&info.key));
        of(BACKUPS, backups.delete_many(&left.map(|info| info.key).collect::<Vec<_>>()).await)?;
    }
    for folder in OF_ONE.into_iter().chain(["backups", "objects"]) {
        of(BACKUPS, backups.delete_unfinished(folder, before).await)?;
    }
    Ok(())
}

/// Deletes backups beyond `keep`, and the objects that no backup names any more. What was written since `before` may be of one that is
/// being made elsewhere.
async fn prune(
    backups: &Blobs,
    mut earlier: Vec<Manifest>,
    newest: &Manifest,
    keep: NonZeroU32,
    before: Timestamp,
    folder: &Scratch,
    inventory: &mut Inventory,
) -> Result<u64, BackupError> {
    let stay = (keep.get() - 1) as usize;
    let left = earlier.split_off(earlier.len().saturating_sub(stay));
    if earlier.is_empty() {
        return Ok(0);
    }
    for old in &earlier {
        // What makes it a backup goes first.
        for key in old.own_keys() {
            of(BACKUPS, backups.delete(&key).await)?;
        }
    }
    inventory.forget_all().await?;
    for manifest in left.iter().chain([newest]) {
        load_index(backups, manifest, folder, inventory).await?;
    }
    let mut batches = of(BACKUPS, backups.list("objects"))?.try_chunks(BATCH);
    while let Some(batch) = of(BACKUPS, batches.try_next().await.map_err(|error| error.1))? {
        let old = batch.into_iter().filter(|info| info.modified_at < before);
        let keys = old.filter_map(|info| Some(info.key.strip_prefix("objects/")?.to_owned()));
        let unkept = inventory.not_kept(&keys.collect::<Vec<_>>()).await?;
        let unkept: Vec<_> = unkept.iter().map(|key| object_key(key)).collect();
        of(BACKUPS, backups.delete_many(&unkept).await)?;
    }
    Ok(earlier.len() as u64)
}

/// Entries of an index in a file.
pub(super) struct EntryReader(std::io::Lines<BufReader<fs::File>>);

impl EntryReader {
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        Ok(Self(BufReader::new(fs::File::open(path).map_err(file_error(path))?).lines()))
    }

    /// The next entries; none at the end.
    pub async fn next(mut self, path: &Path) -> Result<(Self, Vec<Entry>), BackupError> {
        copy::blocking(path, move || {
            let entries = self.0.by_ref().take(BATCH).map(|line| serde_json::from_str(&line?).map_err(Into::into));
            let entries = entries.collect::<std::io::Result<Vec<Entry>>>()?;
            Ok((self, entries))
        })
        .await
    }
}

/// A folder in the data directory for what a backup needs meanwhile; there is one at a time.
struct Scratch {
    folder: tempfile::TempDir,
    /// Locked as long as it is open.
    _lock: fs::File,
}

impl Scratch {
    const PREFIX: &str = "backup-";
    const LOCK: &str = "backup.lock";

    async fn new(data_dir: &Path) -> Result<Self, BackupError> {
        let path = data_dir.to_owned();
        let data_dir = path.clone();
        let made = copy::blocking(&path, move || {
            let lock = fs::File::options().create(true).truncate(false).write(true).open(data_dir.join(Self::LOCK))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
            // One that was killed left its folder.
            for old in fs::read_dir(&data_dir)?.flatten() {
                if old.file_name().to_string_lossy().starts_with(Self::PREFIX) && old.path().is_dir() {
                    fs::remove_dir_all(old.path())?;
                }
            }
            let folder = tempfile::Builder::new().prefix(Self::PREFIX).tempdir_in(&data_dir)?;
            // The server makes backups, too, and is seldom root. Who is not can't, and need not. What the owner put in their place
            // leads nowhere else.
            let owner = fs::metadata(&data_dir)?;
            for ours in [data_dir.join(Self::LOCK).as_path(), folder.path()] {
                let _ = lchown(ours, Some(owner.uid()), Some(owner.gid()));
            }
            Ok(Some(Self { folder, _lock: lock }))
        });
        made.await?.ok_or(BackupError::Busy)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl From<Entry> for KeptBlob {
    fn from(Entry { key, size_bytes, sha256 }: Entry) -> Self {
        Self { blob: key, size_bytes: i64::try_from(size_bytes).unwrap_or(i64::MAX), sha256 }
    }
}

impl From<KeptBlob> for Entry {
    fn from(KeptBlob { blob, size_bytes, sha256 }: KeptBlob) -> Self {
        Self { key: blob, size_bytes: u64::try_from(size_bytes).unwrap_or(0), sha256 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_root_leaves_in_a_data_directory_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        // Whoever is not root owns all of it anyway.
        let _ = lchown(folder.path(), Some(65_534), Some(65_534));
        let scratch = Scratch::new(folder.path()).await.unwrap();
        let owner = |path: &Path| fs::metadata(path).unwrap().uid();
        assert_eq!(owner(&folder.path().join(Scratch::LOCK)), owner(folder.path()));
        assert_eq!(owner(scratch.folder.path()), owner(folder.path()));
    }
}
