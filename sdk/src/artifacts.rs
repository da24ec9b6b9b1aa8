//! Files that a task leaves behind, in object storage. They are streamed: neither side holds one whole.
//!
//! They become visible when the attempt succeeds, together with its result, or never.
//!
//! ```
//! # use airlock_sdk::prelude::*;
//! use std::io::Write;
//!
//! #[task]
//! fn export(rows: Vec<u32>) -> Result<u64> {
//!     let mut file = artifacts::create("rows.csv", "text/csv")?;
//!     for row in rows {
//!         writeln!(file, "{row}")?;
//!     }
//!     Ok(file.finish()?)
//! }
//! let host = airlock_sdk::testing::Host::new();
//! assert_eq!(host.run(|_| export::run(vec![1, 23])).unwrap(), 5);
//! assert_eq!(host.artifact("rows.csv").unwrap().bytes, b"1\n23\n");
//! ```

use std::{
    fmt,
    io::{self, Read, Write},
};

use crate::{
    error::{HostError, Result},
    host,
    pieces::{PieceReader, PieceWriter},
};

/// Starts an artifact `name` of this attempt, replacing one that this attempt wrote before.
///
/// A name is a relative path of 1 to 250 bytes: parts of letters, digits, `_`, `-`, `.`, ` `, divided by `/`.
///
/// # Errors
/// [`HostError::Invalid`] if the name can't be one; [`HostError::TooLarge`] for more than 1,000 artifacts.
pub fn create(name: &str, media_type: &str) -> Result<Writer, HostError> {
    Ok(Writer(PieceWriter::new(host::artifact_create(name, media_type)?)))
}

/// Writes an artifact whose `content` is at hand; answers its size in bytes.
///
/// # Errors
/// As [`create`] and [`Writer::finish`].
pub fn write(name: &str, media_type: &str, content: impl AsRef<[u8]>) -> Result<u64, HostError> {
    let mut writer = create(name, media_type)?;
    writer.0.put(content.as_ref())?;
    writer.finish()
}

/// Opens artifact `name` of task `task_id` of this `dag_run`, which must have succeeded.
///
/// # Errors
/// [`HostError::NotFound`] if there is no such artifact.
pub fn open(task_id: &str, name: &str) -> Result<Reader, HostError> {
    Ok(Reader(PieceReader::new(host::artifact_open(task_id, None, name)?)))
}

/// As [`open`], of instance `map_index` of a mapped task.
///
/// # Errors
/// [`HostError::NotFound`] if there is no such artifact.
pub fn open_mapped(task_id: &str, map_index: u32, name: &str) -> Result<Reader, HostError> {
    Ok(Reader(PieceReader::new(host::artifact_open(task_id, Some(map_index), name)?)))
}

/// An artifact that is being written. Dropped without [`finish`](Self::finish), it is discarded.
#[must_use = "an artifact that is not finished is discarded"]
pub struct Writer(PieceWriter<host::Writer>);

impl Writer {
    /// Ends the artifact and keeps it; answers its size in bytes.
    ///
    /// # Errors
    /// If the rest could not be written, or it is larger than a limit.
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

/// An artifact that is being read, from its start.
pub struct Reader(PieceReader<host::Reader>);

impl Reader {
    /// Size of the whole artifact in bytes.
    pub fn size(&self) -> u64 {
        self.0.source.size()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}
