//! Compiled code on disk, so that a component is compiled once for each build of Airlock and kind of CPU.
//!
//! It is native code, so a file counts only if its MAC is right: under a key that no child has, over the component's
//! digest, the build and the code. Anything else is a miss, and the component is compiled again from its wasm.

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::ids::Digest;

/// Beyond this the files that were used longest ago go.
const MAX_BYTES: u64 = 2 << 30;
const MAC_BYTES: usize = 32;
/// Code of another build is never tried. What of the CPU matters is written inside the code, and runners check it.
const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("CARGO_PKG_NAME"));

/// The folder and the key. All functions block.
#[derive(Debug)]
pub(super) struct CodeCache {
    dir: PathBuf,
    key: [u8; 32],
}

impl CodeCache {
    /// Opens `data_dir/compiled`, made with mode 0700, and the key beside it, made with mode 0600.
    ///
    /// # Errors
    /// If they can't be made, or others may write there.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let dir = data_dir.join("compiled");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let found = fs::symlink_metadata(&dir)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it is not a folder of the user that Airlock runs as"));
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let key = read_or_make_key(&data_dir.join("compiled.key"))?;
        Ok(Self { dir, key })
    }

    /// The code of `component`, if there is a file and it is ours.
    pub fn get(&self, component: Digest) -> Option<Vec<u8>> {
        let path = self.path(component);
        let mut bytes = Vec::new();
        let read = open_plain(&path).and_then(|mut file| {
            file.read_to_end(&mut bytes)?;
            note_use(&file);
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code can't be read; compiling again");
                return None;
            }
        }
        let (mac, code) = bytes.split_first_chunk::<MAC_BYTES>()?;
        if self.mac(component, code).verify_slice(mac).is_err() {
            tracing::warn!(path = %path.display(), "compiled code is not what was written; compiling again");
            return None;
        }
        bytes.drain(..MAC_BYTES);
        Some(bytes)
    }

    /// Keeps `code`. A failure costs a compilation later, nothing else.
    pub fn put(&self, component: Digest, code: &[u8]) {
        if let Err(error) = self.try_put(component, code) {
            tracing::warn!(dir = %self.dir.display(), %error, "compiled code can't be kept");
        }
    }

    /// Forgets the code of `component`.
    pub fn delete(&self, component: Digest) {
        let _ = fs::remove_file(self.path(component));
    }

    fn try_put(&self, component: Digest, code: &[u8]) -> io::Result<()> {
        let path = self.path(component);
        let unfinished = path.with_extension(format!("{:x}", rand::random::<u64>()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let written = file
            .write_all(&self.mac(component, code).finalize().into_bytes())
            .and_then(|()| file.write_all(code))
            .and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        self.prune()
    }

    /// Removes the files that were used longest ago, above the bound.
    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let found = entry.metadata()?;
            files.push((found.modified()?, found.len(), entry.path()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in files {
            if total <= MAX_BYTES {
                break;
            }
            fs::remove_file(path)?;
            total -= length;
        }
        Ok(())
    }

    fn path(&self, component: Digest) -> PathBuf {
        self.dir.join(format!("{component}.code"))
    }

    fn mac(&self, component: Digest, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        // Each part has a fixed length or carries it, so that no two lists of parts give the same bytes.
        mac.update(&component.0);
        mac.update(&[u8::try_from(BUILD.len()).unwrap_or(u8::MAX)]);
        mac.update(BUILD.as_bytes());
        mac.update(code);
        mac
    }
}

/// Opens a file that is no link.
fn open_plain(path: &Path) -> io::Result<fs::File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Where it can't be noted, a file is as old as what was written.
fn note_use(file: &fs::File) {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let _ = rustix::fs::futimens(file, &rustix::fs::Timestamps { last_access: now, last_modification: now });
}

fn read_or_make_key(path: &Path) -> io::Result<[u8; 32]> {
    match open_plain(path) {
        Ok(mut file) => {
            if file.metadata()?.mode() & 0o077 != 0 {
                return Err(io::Error::other("others may read `compiled.key`; set its mode to 0600"));
            }
            let mut key = [0; 32];
            file.read_exact(&mut key)?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = rand::random::<[u8; 32]>();
            // Whole or not at all: half a key would stop every start from now on.
            let unfinished = path.with_extension(format!("{:x}", rand::random::<u64>()));
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            file.write_all(&key)?;
            fs::rename(&unfinished, path)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Digest = Digest([1; 32]);
    const B: Digest = Digest([2; 32]);

    #[test]
    fn code_is_found_again_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(dir.path()).unwrap();
        assert_eq!(cache.get(A), None);
        cache.put(A, b"code");
        assert_eq!(cache.get(A).as_deref(), Some(&b"code"[..]));
        assert_eq!(CodeCache::open(dir.path()).unwrap().get(A).as_deref(), Some(&b"code"[..]));
        assert_eq!(fs::metadata(dir.path().join("compiled")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(dir.path().join("compiled.key")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_changed_moved_or_linked_is_a_miss() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(dir.path()).unwrap();
        cache.put(A, b"code");
        let good = fs::read(cache.path(A)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(cache.path(A), bad).unwrap();
            assert_eq!(cache.get(A), None, "byte {at}");
        }
        fs::write(cache.path(A), &good[..20]).unwrap();
        assert_eq!(cache.get(A), None);
        fs::write(cache.path(B), &good).unwrap();
        assert_eq!(cache.get(B), None, "another component's code");
        fs::remove_file(cache.path(A)).unwrap();
        fs::write(dir.path().join("elsewhere"), &good).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), cache.path(A)).unwrap();
        assert_eq!(cache.get(A), None, "a link");
    }

    #[test]
    fn code_that_is_used_is_not_the_oldest() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(dir.path()).unwrap();
        let written = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        for component in [A, B] {
            cache.put(component, b"code");
            fs::File::open(cache.path(component)).unwrap().set_modified(written).unwrap();
        }
        cache.get(A).unwrap();
        let used = |component| fs::metadata(cache.path(component)).unwrap().modified().unwrap();
        assert!(used(A) > written);
        assert_eq!(used(B), written);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        CodeCache::open(dir.path()).unwrap();
        fs::set_permissions(dir.path().join("compiled.key"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(CodeCache::open(dir.path()).is_err());
    }
}
