//! A recording as bytes: a line that says what they are, and the rest compressed.

use std::io::Read as _;

use super::Recording;

/// The form of what follows the first line. Counted up when it or one of the messages of [`wire`](crate::wire) changes.
const FORMAT: u32 = 1;
const NAME: &str = "airlock-recording";
const COMPRESSION_LEVEL: i32 = 3;
/// The longest first line.
const MAX_HEAD_BYTES: usize = 100;
/// What a recording may be when it is not compressed: more than any server keeps.
const MAX_BYTES: u64 = 2 << 30;

/// Why a recording can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    #[error("this is not a recording of Airlock")]
    Foreign,
    #[error("it was recorded by airlock {version} (format {format}); this is {}, of format {FORMAT}: replay it with that version", env!("CARGO_PKG_VERSION"))]
    OtherFormat { format: String, version: String },
    #[error("the recording is damaged; download it again")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the recording can't be compressed")]
    Compress(#[source] std::io::Error),
}

impl RecordingError {
    fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Damaged(error.into())
    }
}

pub(super) fn write(recording: &Recording) -> Result<Vec<u8>, RecordingError> {
    let plain = postcard::to_stdvec(recording).map_err(RecordingError::damaged)?;
    let mut bytes = format!("{NAME} {FORMAT} {}\n", env!("CARGO_PKG_VERSION")).into_bytes();
    let compress = || {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), COMPRESSION_LEVEL)?;
        encoder.include_checksum(true)?;
        std::io::copy(&mut plain.as_slice(), &mut encoder)?;
        encoder.finish()
    };
    bytes.extend(compress().map_err(RecordingError::Compress)?);
    Ok(bytes)
}

pub(super) fn read(bytes: &[u8]) -> Result<Recording, RecordingError> {
    let line_end = bytes.iter().take(MAX_HEAD_BYTES).position(|byte| *byte == b'\n').ok_or(RecordingError::Foreign)?;
    let (head, rest) = (std::str::from_utf8(&bytes[..line_end]), &bytes[line_end + 1..]);
    let words: Vec<_> = head.map_err(|_| RecordingError::Foreign)?.split(' ').collect();
    let [NAME, format, version] = words.as_slice() else { return Err(RecordingError::Foreign) };
    if format.parse() != Ok(FORMAT) {
        return Err(RecordingError::OtherFormat { format: (*format).to_owned(), version: (*version).to_owned() });
    }
    let mut plain = Vec::new();
    let decoder = zstd::stream::Decoder::new(rest).map_err(RecordingError::damaged)?;
    let read = decoder.take(MAX_BYTES + 1).read_to_end(&mut plain).map_err(RecordingError::damaged)?;
    if read as u64 > MAX_BYTES {
        return Err(RecordingError::damaged("it is larger than a recording can be"));
    }
    match postcard::take_from_bytes(&plain).map_err(RecordingError::damaged)? {
        (recording, []) => Ok(recording),
        _ => Err(RecordingError::damaged("something follows its end")),
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::{AttemptEnd, Tape};

    use super::{super::tests::run, *};

    #[test]
    fn whatever_is_wrong_with_the_bytes_is_said() {
        let recording =
            Recording { run: run(), calls: Vec::new(), tape: Tape::default(), end: AttemptEnd::Success(None) };
        let good = write(&recording).unwrap();
        assert_eq!(read(&good).unwrap().run, recording.run);
        let first = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in first..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            // A bit of zstd's frame header may mean nothing.
            assert!(read(&bad).is_ok_and(|same| same.run == recording.run) || read(&bad).is_err(), "byte {at}");
            assert!(read(&good[..at]).is_err(), "{at} bytes");
        }
        assert!(matches!(read(b"PK\x03\x04 something\n"), Err(RecordingError::Foreign)));
        assert!(matches!(read(b""), Err(RecordingError::Foreign)));
        let newer = read(b"airlock-recording 99 7.0.0\nx").unwrap_err().to_string();
        assert!(newer.contains("airlock 7.0.0") && newer.contains("that version"), "{newer}");
    }
}
