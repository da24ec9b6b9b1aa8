//! Objects in storage - S3, and what speaks its protocol - by the connections that a dag was granted.
//!
//! `#[dag(connections = ["lake"])]` with a connection of type `aws` or `s3` is all that it takes: the server signs the requests, and the
//! task never holds the keys. Objects are streamed: neither side holds one whole.
//!
//! ```
//! # use airlock_sdk::prelude::*;
//! use std::io::{BufRead, BufReader, Write};
//!
//! #[task]
//! fn shout(day: &str) -> Result<u64> {
//!     let lake = objects::bucket("lake");
//!     let mut upper = lake.put(&format!("loud/{day}.txt"), "text/plain")?;
//!     for line in BufReader::new(lake.get(&format!("raw/{day}.txt"))?).lines() {
//!         writeln!(upper, "{}", line?.to_uppercase())?;
//!     }
//!     Ok(upper.finish()?)
//! }
//!
//! let host = airlock_sdk::testing::Host::new().object("lake", "raw/monday.txt", "a\nb\n");
//! assert_eq!(host.run(|_| shout::run("monday")).unwrap(), 4);
//! assert_eq!(host.object_of("lake", "loud/monday.txt").unwrap(), b"A\nB\n");
//! ```
//!
//! Unlike an artifact, an object is there as soon as it is finished, whether the attempt succeeds or not.

use std::{
    fmt,
    io::{self, Read, Write},
};

use chrono::{DateTime, Utc};

use crate::{
    error::{HostError, Result, found},
    host,
    pieces::{PieceReader, PieceWriter},
};

/// Objects that are asked for at a time.
const PAGE: u32 = 1_000;

/// The objects of connection `id`. Nothing is asked of the host yet.
pub fn bucket(id: impl Into<String>) -> Bucket {
    Bucket { id: id.into() }
}

/// The objects of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    id: String,
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key, without what the connection puts before it.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified_at: DateTime<Utc>,
    /// Changes whenever the object does, if the storage says so.
    pub etag: Option<String>,
}

impl Bucket {
    /// Opens an object.
    ///
    /// # Errors
    /// [`HostError::Denied`] without the grant; [`HostError::NotFound`] if there is no such object.
    pub fn get(&self, key: &str) -> Result<Reader, HostError> {
        let (object, source) = host::object_get(&self.id, key)?;
        Ok(Reader { object, pieces: PieceReader::new(source) })
    }

    /// A whole object.
    ///
    /// # Errors
    /// As [`get`](Self::get), and if it can't be read to its end.
    pub fn read(&self, key: &str) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.get(key)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Begins an object, which replaces one of the same key when it is finished.
    ///
    /// # Errors
    /// [`HostError::Denied`] without the grant.
    pub fn put(&self, key: &str, media_type: &str) -> Result<Writer, HostError> {
        Ok(Writer(PieceWriter::new(host::object_put(&self.id, key, media_type)?)))
    }

    /// Writes an object whose `content` is at hand; answers its size in bytes.
    ///
    /// # Errors
    /// As [`put`](Self::put) and [`Writer::finish`].
    pub fn write(&self, key: &str, media_type: &str, content: impl AsRef<[u8]>) -> Result<u64, HostError> {
        let mut writer = self.put(key, media_type)?;
        writer.0.put(content.as_ref())?;
        writer.finish()
    }

    /// What is known of an object; none if there is no such object.
    ///
    /// # Errors
    /// [`HostError::Denied`] without the grant.
    pub fn head(&self, key: &str) -> Result<Option<Object>, HostError> {
        found(host::object_head(&self.id, key))
    }

    /// The objects below the folder `prefix` (all, if it is empty), by their keys. More are asked for as they are needed.
    pub fn list(&self, prefix: &str) -> Objects {
        Objects {
            id: self.id.clone(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            page: Vec::new().into_iter(),
            last: None,
            ended: false,
        }
    }

    /// Deletes an object; one that is not there is as good as deleted.
    ///
    /// # Errors
    /// [`HostError::Denied`] without the grant.
    pub fn delete(&self, key: &str) -> Result<(), HostError> {
        host::object_delete(&self.id, key)
    }
}

/// Objects, by their keys.
#[derive(Debug)]
pub struct Objects {
    id: String,
    prefix: String,
    page: std::vec::IntoIter<Object>,
    last: Option<String>,
    ended: bool,
}

impl Iterator for Objects {
    type Item = Result<Object, HostError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(object) = self.page.next() {
                self.last = Some(object.key.clone());
                return Some(Ok(object));
            }
            if self.ended {
                return None;
            }
            match host::object_list(&self.id, &self.prefix, self.last.as_deref(), PAGE) {
                Ok((objects, has_more)) => {
                    self.ended = !has_more || objects.is_empty();
                    self.page = objects.into_iter();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// An object that is being written. Dropped without [`finish`](Self::finish), it is discarded.
#[must_use = "an object that is not finished is discarded"]
pub struct Writer(PieceWriter<host::Upload>);

impl Writer {
    /// Ends the object and makes it appear; answers its size in bytes.
    ///
    /// # Errors
    /// If the rest could not be written.
    pub fn finish(self) -> Result<u64, HostError> {
        self.0.finish()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.0.hand_over()?)
    }
}

/// An object that is being read, from its start.
pub struct Reader {
    object: Object,
    pieces: PieceReader<host::Download>,
}

impl Reader {
    /// What is known of it.
    pub fn object(&self) -> &Object {
        &self.object
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("object", &self.object).finish_non_exhaustive()
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.pieces.read(into)
    }
}
