//! Length-prefixed postcard over any byte stream.

use postcard::de_flavors::{Flavor, Slice};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest frame; a larger length is a broken or hostile peer. Holds an XCom at its limit and its surroundings.
pub const MAX_FRAME_BYTES: usize = (256 << 20) + (1 << 20);

/// The most numbers in a frame: those of the message, and the lengths of its texts and lists. An element of a list, which may take a byte in a
/// frame and 24 in memory, has one at least. So many have neither tapes nor the lists of guests, which have bounds of their own.
pub const MAX_NUMBERS: usize = 12 << 20;

/// Why no frame could be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the peer closed the stream inside a frame, or it can't be read or written")]
    Io(#[from] std::io::Error),
    #[error("a frame of {0} bytes is above the limit")]
    TooLarge(usize),
    #[error("a frame does not hold the message that was expected, or has too many parts")]
    Malformed(#[from] postcard::Error),
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader<R> {
    from: R,
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` begins.
    start: usize,
    max_bytes: usize,
    came: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), start: 0, max_bytes: MAX_FRAME_BYTES, came: 0 }
    }

    /// Takes no larger frames from now on.
    pub fn limit(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// How many bytes came in all.
    pub fn came(&self) -> u64 {
        self.came
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
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Reads some bytes; false when the peer closed the stream between frames. Cancel-safe.
    ///
    /// # Errors
    /// If the stream breaks.
    pub async fn read(&mut self) -> Result<bool, FrameError> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
            // One large frame is no reason to keep its room for ever.
            if self.buffer.is_empty() {
                self.buffer.shrink_to(1 << 20);
            }
        }
        self.buffer.reserve(64 << 10);
        let count = self.from.read_buf(&mut self.buffer).await?;
        self.came += count as u64;
        match count {
            0 if self.buffer.is_empty() => Ok(false),
            0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(true),
        }
    }

    /// How long the next frame is, if that was read: the frame itself may still be on its way.
    ///
    /// # Errors
    /// If it is above the limit.
    pub fn head(&self) -> Result<Option<usize>, FrameError> {
        let Some(head) = self.buffer[self.start..].first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > self.max_bytes { Err(FrameError::TooLarge(length)) } else { Ok(Some(length)) }
    }

    /// A message that has already been read from the stream, if there is a whole one.
    ///
    /// # Errors
    /// If the peer sent what is not a frame.
    pub fn buffered<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(length) = self.head()? else { return Ok(None) };
        let begin = self.start + 4;
        let Some(body) = self.buffer.get(begin..begin + length) else { return Ok(None) };
        let message = decode(body)?;
        self.start = begin + length;
        Ok(Some(message))
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, postcard::Error> {
    T::deserialize(&mut postcard::Deserializer::from_flavor(Counted { body: Slice::new(body), left: MAX_NUMBERS }))
}

/// Bytes with so many numbers at most.
struct Counted<'de> {
    body: Slice<'de>,
    left: usize,
}

impl<'de> Flavor<'de> for Counted<'de> {
    type Remainder = &'de [u8];
    type Source = &'de [u8];

    fn pop(&mut self) -> postcard::Result<u8> {
        let byte = self.body.pop()?;
        // The last byte of a number: the others have the highest bit.
        if byte < 0x80 {
            self.left = self.left.checked_sub(1).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        }
        Ok(byte)
    }

    fn size_hint(&self) -> Option<usize> {
        self.body.size_hint()
    }

    fn try_take_n(&mut self, count: usize) -> postcard::Result<&'de [u8]> {
        self.body.try_take_n(count)
    }

    fn finalize(self) -> postcard::Result<&'de [u8]> {
        self.body.finalize()
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
        let mut small = FrameReader::new(&[2, 0, 0, 0, 1, b'x'][..]);
        small.limit(1);
        assert!(matches!(small.next::<String>().await, Err(FrameError::TooLarge(2))));
    }

    /// An empty text takes a byte of a frame, and 24 of memory.
    #[tokio::test]
    async fn a_frame_does_not_grow_when_it_is_read() {
        let of_empty_texts = |count: usize| frame(&vec![(); count].iter().map(|()| "").collect::<Vec<_>>()).unwrap();
        let most = of_empty_texts(MAX_NUMBERS - 1);
        let read = FrameReader::new(&most[..]).next::<Vec<String>>().await.unwrap().unwrap();
        assert_eq!(read.len(), MAX_NUMBERS - 1);
        let more = of_empty_texts(MAX_NUMBERS);
        let refused = FrameReader::new(&more[..]).next::<Vec<String>>().await;
        assert!(matches!(refused, Err(FrameError::Malformed(_))), "{refused:?}");
        // Bytes in one piece are as large as they are.
        let bytes = frame(&"x".repeat(MAX_NUMBERS + 1)).unwrap();
        assert!(FrameReader::new(&bytes[..]).next::<String>().await.unwrap().is_some());
    }
}
