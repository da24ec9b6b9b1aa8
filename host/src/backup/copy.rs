//! Bytes from one place to another, with their digest.

use std::{
    fs,
    io::{self, BufReader, Read, Write},
    path::Path,
};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use super::{BACKUPS, BackupError, file_error, manifest::File, of};
use crate::{blobs::Blobs, model::ids::Digest};

const COMPRESSION_LEVEL: i32 = 3;
/// What is read of a file at a time.
const PIECE: usize = 4 << 20;

/// Copies an object; none if there is no `from`, or it is deleted meanwhile. With `expected`, nothing is written unless the bytes are
/// those.
pub async fn object(
    (source, from, of_source): (&Blobs, &str, &'static str),
    (target, to, of_target): (&Blobs, &str, &'static str),
    expected: Option<Digest>,
) -> Result<Option<File>, BackupError> {
    let Some(mut read) = of(of_source, source.stream(from).await)? else { return Ok(None) };
    let mut writer = of(of_target, target.writer(to))?;
    let (mut hash, mut size_bytes) = (Sha256::new(), 0);
    loop {
        let piece = read.stream.try_next().await;
        if piece.is_err() && !of(of_source, source.exists(from).await)? {
            return Ok(None);
        }
        let Some(piece) = of(of_source, piece)? else { break };
        hash.update(&piece);
        size_bytes += piece.len() as u64;
        of(of_target, writer.write(piece).await)?;
    }
    let sha256 = Digest(hash.finalize().into());
    if expected.is_some_and(|expected| expected != sha256) {
        return Err(BackupError::Damaged(from.to_owned()));
    }
    of(of_target, writer.finish().await)?;
    Ok(Some(File { size_bytes, sha256 }))
}

/// Compresses a file into the storage of backups.
pub async fn pack(path: &Path, backups: &Blobs, key: &str) -> Result<File, BackupError> {
    let packed = path.with_extension("zst");
    let (from, to) = (path.to_owned(), packed.clone());
    let file = blocking(path, move || {
        let mut hashing = Hashing { inner: BufReader::new(fs::File::open(&from)?), hash: Sha256::new(), size_bytes: 0 };
        zstd::stream::copy_encode(&mut hashing, fs::File::create(&to)?, COMPRESSION_LEVEL)?;
        Ok(hashing.file())
    })
    .await?;
    let mut reader = tokio::fs::File::open(&packed).await.map_err(file_error(&packed))?;
    let mut writer = of(BACKUPS, backups.writer(key))?;
    loop {
        let mut piece = bytes::BytesMut::with_capacity(PIECE);
        let read = tokio::io::AsyncReadExt::read_buf(&mut reader, &mut piece).await.map_err(file_error(&packed))?;
        if read == 0 {
            break;
        }
        of(BACKUPS, writer.write(Bytes::from(piece)).await)?;
    }
    of(BACKUPS, writer.finish().await)?;
    tokio::fs::remove_file(&packed).await.map_err(file_error(&packed))?;
    Ok(file)
}

/// Decompresses an object of the storage of backups into a file, and sees to it that it is what it was.
pub async fn unpack(backups: &Blobs, key: &str, path: &Path, expected: &File) -> Result<(), BackupError> {
    let read = of(BACKUPS, backups.stream(key).await)?;
    let mut read = read.ok_or_else(|| BackupError::Missing(key.to_owned()))?;
    let packed = path.with_extension("zst");
    let mut file = tokio::fs::File::create(&packed).await.map_err(file_error(&packed))?;
    while let Some(piece) = of(BACKUPS, read.stream.try_next().await)? {
        tokio::io::AsyncWriteExt::write_all(&mut file, &piece).await.map_err(file_error(&packed))?;
    }
    tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(file_error(&packed))?;
    let (from, to, limit) = (packed.clone(), path.to_owned(), expected.size_bytes);
    let unpacked = blocking(path, move || {
        // One byte more than it may have: then it is not what it was.
        let decoder = zstd::stream::Decoder::new(fs::File::open(&from)?)?.take(limit + 1);
        let mut hashing = Hashing { inner: decoder, hash: Sha256::new(), size_bytes: 0 };
        let mut out = fs::File::create(&to)?;
        io::copy(&mut hashing, &mut out)?;
        out.flush()?;
        out.sync_all()?;
        Ok(hashing.file())
    })
    .await;
    tokio::fs::remove_file(&packed).await.map_err(file_error(&packed))?;
    match unpacked {
        Ok(unpacked) if unpacked == *expected => Ok(()),
        Ok(_) => Err(BackupError::Damaged(key.to_owned())),
        // What zstd can't read, or reads to no end, is not what was written.
        Err(BackupError::File { source, .. })
            if matches!(source.kind(), io::ErrorKind::Other | io::ErrorKind::UnexpectedEof) =>
        {
            Err(BackupError::Damaged(key.to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Reads, and takes the digest of what it read.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    size_bytes: u64,
}

impl<R> Hashing<R> {
    fn file(self) -> File {
        File { size_bytes: self.size_bytes, sha256: Digest(self.hash.finalize().into()) }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.size_bytes += read as u64;
        Ok(read)
    }
}

/// Does what blocks. `path`: what it is about.
pub async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(file_error(path))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backup::OURS;

    #[tokio::test]
    async fn what_was_cut_off_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (path, backups) = (folder.path().join("airlock.db"), Blobs::in_memory());
        fs::write(&path, vec![7; 100_000]).unwrap();
        let file = pack(&path, &backups, "databases/one").await.unwrap();
        let packed = backups.get("databases/one").await.unwrap().unwrap();
        for length in [packed.len() / 2, packed.len() - 1] {
            backups.put("databases/one", packed.slice(..length)).await.unwrap();
            let unpacked = unpack(&backups, "databases/one", &folder.path().join("back.db"), &file).await;
            assert!(matches!(unpacked, Err(BackupError::Damaged(_))), "{unpacked:?}");
        }
    }

    #[tokio::test]
    async fn an_object_that_is_deleted_while_it_is_copied_is_not_there() {
        let (source, target) = (Blobs::slow_in_memory(Duration::from_millis(50)), Blobs::in_memory());
        source.put("xcoms/large", vec![1; 12 << 20].into()).await.unwrap();
        let copied = object((&source, "xcoms/large", OURS), (&target, "objects/xcoms/large", BACKUPS), None);
        let deleted = async {
            tokio::time::sleep(Duration::from_millis(125)).await;
            source.delete("xcoms/large").await
        };
        let (copied, deleted) = tokio::join!(copied, deleted);
        assert!(deleted.is_ok() && copied.unwrap().is_none());
        assert!(!target.exists("objects/xcoms/large").await.unwrap());
    }
}
