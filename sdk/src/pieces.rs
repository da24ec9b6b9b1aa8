//! Streams to and from the host, which are handed over in pieces: each costs a call.

use std::io;

use crate::{error::HostError, host};

/// The host takes and gives no more bytes than this at a time.
const MOST_BYTES: usize = 1 << 20;

/// What the host takes in pieces, and keeps when it is finished.
pub(crate) trait Sink {
    /// Less is gathered before it is handed over.
    const PIECE_BYTES: usize;

    fn write(&mut self, piece: &[u8]) -> Result<(), HostError>;
    /// Answers the size of the whole in bytes.
    fn finish(self) -> Result<u64, HostError>;
}

/// What the host gives in pieces.
pub(crate) trait Source {
    /// No less is asked for.
    const PIECE_BYTES: usize;

    /// The next `most` bytes or fewer; none at the end.
    fn read(&mut self, most: usize) -> Result<Vec<u8>, HostError>;
}

macro_rules! stream {
    ($sink:ident, $source:ident, $piece_bytes:expr) => {
        impl Sink for host::$sink {
            const PIECE_BYTES: usize = $piece_bytes;

            fn write(&mut self, piece: &[u8]) -> Result<(), HostError> {
                host::$sink::write(self, piece)
            }

            fn finish(self) -> Result<u64, HostError> {
                host::$sink::finish(self)
            }
        }

        impl Source for host::$source {
            const PIECE_BYTES: usize = $piece_bytes;

            fn read(&mut self, most: usize) -> Result<Vec<u8>, HostError> {
                host::$source::read(self, most)
            }
        }
    };
}

stream!(Writer, Reader, 64 << 10);
stream!(Upload, Download, 256 << 10);

pub(crate) struct PieceWriter<S> {
    sink: S,
    buffer: Vec<u8>,
}

impl<S: Sink> PieceWriter<S> {
    pub fn new(sink: S) -> Self {
        Self { sink, buffer: Vec::new() }
    }

    /// Takes all of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), HostError> {
        if self.buffer.len() + bytes.len() < S::PIECE_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.hand_over()?;
        bytes.chunks(MOST_BYTES).try_for_each(|piece| self.sink.write(piece))
    }

    pub fn hand_over(&mut self) -> Result<(), HostError> {
        if !self.buffer.is_empty() {
            self.sink.write(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<u64, HostError> {
        self.hand_over()?;
        self.sink.finish()
    }
}

pub(crate) struct PieceReader<S> {
    pub source: S,
    buffer: Vec<u8>,
    at: usize,
}

impl<S: Source> PieceReader<S> {
    pub fn new(source: S) -> Self {
        Self { source, buffer: Vec::new(), at: 0 }
    }

    /// As [`io::Read::read`].
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            let wanted = into.len().clamp(S::PIECE_BYTES, MOST_BYTES);
            self.buffer = self.source.read(wanted)?;
            self.at = 0;
        }
        let length = into.len().min(self.buffer.len() - self.at);
        into[..length].copy_from_slice(&self.buffer[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
