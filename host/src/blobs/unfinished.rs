//! What processes that were killed left in a folder: files that were to become objects.

use std::{ffi::OsStr, fs, io, path::Path, time::SystemTime};

use super::{BlobError, Blobs};
use crate::model::time::Timestamp;

impl Blobs {
    /// Deletes what was being written below the folder `prefix` by whom nobody waits for any more: what was last written to before
    /// `before`. Answers how many files that were. No list names them. In a bucket, such uploads are its lifecycle rules' to end.
    ///
    /// # Errors
    /// The first thing that went wrong; call it again.
    pub async fn delete_unfinished(&self, prefix: &str, before: Timestamp) -> Result<u64, BlobError> {
        let Some(folder) = &self.folder else { return Ok(0) };
        let (folder, before) = (folder.join(prefix), SystemTime::from(before.to_utc()));
        let deleted = tokio::task::spawn_blocking(move || delete(&folder, before)).await;
        let deleted = deleted.map_err(object_store::Error::from)?;
        Ok(deleted.map_err(|error| object_store::Error::Generic { store: "folder", source: Box::new(error) })?)
    }
}

fn delete(folder: &Path, before: SystemTime) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut deleted = 0;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            deleted += delete(&entry.path(), before)?;
        } else if is_unfinished(&entry.file_name())
            // It may be an object by now.
            && entry.metadata().and_then(|file| file.modified()).is_ok_and(|at| at < before)
        {
            fs::remove_file(entry.path())?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// `object_store` calls a file so until it is an object: by the object's name, `#` and a number.
fn is_unfinished(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.rsplit_once('#')).map(|(_, number)| number.as_bytes());
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::model::time::Clock;

    #[tokio::test]
    async fn what_was_being_written_goes_when_nobody_can_be_writing_it() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(&format!("file://{}", folder.path().display())).unwrap();
        blobs.put("logs/ab/whole", Bytes::from_static(b"x")).await.unwrap();
        // Of a process that is killed: this one is not given up.
        let mut writer = blobs.writer("artifacts/cd/half").unwrap();
        writer.write(vec![1; 6 << 20].into()).await.unwrap();
        let half = folder.path().join("artifacts/cd/half#1");
        assert!(half.exists());
        let now = Clock.now();
        for prefix in ["logs", "artifacts", "xcoms"] {
            assert_eq!(blobs.delete_unfinished(prefix, now.before(Duration::from_mins(1))).await.unwrap(), 0);
        }
        let later = now.after(Duration::from_mins(1));
        assert_eq!(blobs.delete_unfinished("logs", later).await.unwrap(), 0);
        assert_eq!(blobs.delete_unfinished("artifacts", later).await.unwrap(), 1);
        assert!(!half.exists() && blobs.exists("logs/ab/whole").await.unwrap());
    }
}
