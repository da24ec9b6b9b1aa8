//! Length-prefixed postcard over any byte stream.

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest frame; a larger length is a broken or hostile peer. Holds an XCom at its limit and its surroundings.
pub const MAX_FRAME_BYTES: usize = (256 << 20) + (1 << 20);

/// Why no frame could be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the peer closed the stream inside a frame, or it can't be read or written")]
    Io(#[from] std::io::Error),
    #[error("a frame of {0} bytes is above the limit")]
    TooLarge(usize),
    #[error("a frame does not hold the message that was expected")]
    Malformed(#[from] postcard::Error),
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader<R> {
    from: R,
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` begins.
    start: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), start: 0 }
    }

    /// The next message; none when the peer closed the stream between frames. Cancel-safe: what was read stays
    /// buffered.
    ///
    /// # Errors
    /// If the stream breaks, or the peer sends what is not a frame.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            if self.start > 0 {
                self.buffer.drain(..self.start);
                self.start = 0;
                // One large frame is no reason to keep its room for ever.
                if self.buffer.is_empty() {
                    self.buffer.shrink_to(1 << 20);
                }
            }
            self.buffer.reserve(64 << 10);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
                };
            }
        }
    }

    /// A message that has already been read from the stream, if there is a whole one.
    ///
    /// # Errors
    /// If the peer sent what is not a frame.
    pub fn buffered<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let unread = &self.buffer[self.start..];
        let Some((head, rest)) = unread.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = postcard::from_bytes(body)?;
        self.start += 4 + length;
        Ok(Some(message))
    }
}

/// One message as a frame, for those that write without tokio.
///
/// # Errors
/// If the message is above [`MAX_FRAME_BYTES`].
pub fn frame<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut writer = FrameWriter::new(tokio::io::sink());
    writer.push(message)?;
    Ok(writer.buffer)
}

/// Collects frames and writes them together.
#[derive(Debug)]
pub struct FrameWriter<W> {
    to: W,
    buffer: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub fn new(to: W) -> Self {
        Self { to, buffer: Vec::new() }
    }

    /// Adds a message to what `flush` will write.
    ///
    /// # Errors
    /// If the message is above [`MAX_FRAME_BYTES`].
    pub fn push<T: Serialize>(&mut self, message: &T) -> Result<(), FrameError> {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        let buffer = postcard::to_extend(message, std::mem::take(&mut self.buffer))?;
        self.buffer = buffer;
        let length = self.buffer.len() - at - 4;
        match u32::try_from(length) {
            Ok(prefix) if length <= MAX_FRAME_BYTES => {
                self.buffer[at..at + 4].copy_from_slice(&prefix.to_le_bytes());
                Ok(())
            }
            _ => {
                self.buffer.truncate(at);
                Err(FrameError::TooLarge(length))
            }
        }
    }

    /// How many bytes wait.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Writes what was pushed.
    ///
    /// # Errors
    /// If the peer is gone.
    pub async fn flush(&mut self) -> Result<(), FrameError> {
        self.to.write_all(&self.buffer).await?;
        self.to.flush().await?;
        self.buffer.clear();
        self.buffer.shrink_to(1 << 20);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_any_cut_of_the_stream() {
        let mut bytes = Vec::new();
        let mut writer = FrameWriter::new(&mut bytes);
        for text in ["", "one", "two"] {
            writer.push(&text.to_owned()).unwrap();
        }
        writer.flush().await.unwrap();
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            let mut reader = FrameReader::new(head.chain(tail));
            let mut read = Vec::new();
            while let Some(text) = reader.next::<String>().await.unwrap() {
                read.push(text);
            }
            assert_eq!(read, ["", "one", "two"]);
        }
    }

    #[tokio::test]
    async fn a_broken_peer_is_an_error_and_takes_no_memory() {
        let huge = u32::MAX.to_le_bytes();
        assert!(matches!(FrameReader::new(&huge[..]).next::<String>().await, Err(FrameError::TooLarge(_))));
        let cut = [9, 0, 0, 0, 1];
        assert!(matches!(FrameReader::new(&cut[..]).next::<String>().await, Err(FrameError::Io(_))));
        let wrong = [1, 0, 0, 0, 200];
        assert!(matches!(FrameReader::new(&wrong[..]).next::<String>().await, Err(FrameError::Malformed(_))));
    }
}
