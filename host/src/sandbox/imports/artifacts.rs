//! `airlock:task/artifacts`.

use std::sync::Arc;

use wasmtime::{Result, component::Resource};

use super::answer;
use crate::{
    sandbox::{
        attempt::Attempt,
        bindings::airlock::task::{artifacts, types::Error},
        guest::Guest,
    },
    wire::{Call, CallError, Reply, StreamKey},
};

/// The most that one call carries. `wit/task.wit`.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// An artifact that is being written.
pub struct Writer {
    stream: Stream,
    finished: bool,
}

/// An artifact that is being read.
pub struct Reader {
    stream: Stream,
    size: u64,
}

/// A stream that the supervisor keeps open for the guest until this is dropped.
pub struct Stream {
    pub key: StreamKey,
    pub attempt: Arc<Attempt>,
    /// The supervisor has closed it.
    pub closed: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.closed {
            self.attempt.tell(Call::StreamDrop { stream: self.key });
        }
    }
}

impl Guest {
    /// What the supervisor opened for the guest.
    pub fn stream(&self, key: StreamKey) -> Stream {
        Stream { key, attempt: self.attempt.clone(), closed: false }
    }
}

impl artifacts::Host for Guest {
    async fn create(&mut self, name: String, media_type: String) -> Result<Result<Resource<Writer>, Error>> {
        let call = Call::ArtifactCreate { name, media_type };
        answer!(self.attempt.call(call).await, Reply::Stream { stream, .. } => {
            let stream = self.stream(stream);
            self.table.push(Writer { stream, finished: false })?
        })
    }

    async fn open(
        &mut self,
        task_id: String,
        map_index: Option<i32>,
        name: String,
    ) -> Result<Result<Resource<Reader>, Error>> {
        let call = Call::ArtifactOpen { task_id, map_index, name };
        answer!(self.attempt.call(call).await, Reply::Stream { stream, size } => {
            let stream = self.stream(stream);
            self.table.push(Reader { stream, size })?
        })
    }
}

impl artifacts::HostWriter for Guest {
    async fn write(&mut self, writer: Resource<Writer>, chunk: Vec<u8>) -> Result<Result<(), Error>> {
        let writer = self.table.get(&writer)?;
        if writer.finished {
            return Ok(Err(Error::Invalid("the artifact is finished; nothing can be written to it".to_owned())));
        }
        if chunk.len() > CHUNK_BYTES {
            let text =
                format!("a chunk of {} bytes is above the limit of {CHUNK_BYTES}; write it in parts", chunk.len());
            return Ok(Err(Error::TooLarge(text)));
        }
        let stream = writer.stream.key;
        answer!(self.attempt.call(Call::ArtifactWrite { stream, chunk }).await, Reply::Unit => ())
    }

    async fn finish(&mut self, writer: Resource<Writer>) -> Result<Result<u64, Error>> {
        let writer = self.table.get_mut(&writer)?;
        if std::mem::replace(&mut writer.finished, true) {
            return Ok(Err(CallError::Invalid("the artifact is finished already".to_owned()).into()));
        }
        writer.stream.closed = true;
        let stream = writer.stream.key;
        answer!(self.attempt.call(Call::ArtifactFinish { stream }).await, Reply::Size(size) => size)
    }

    async fn drop(&mut self, writer: Resource<Writer>) -> Result<()> {
        self.table.delete(writer)?;
        Ok(())
    }
}

impl artifacts::HostReader for Guest {
    async fn size(&mut self, reader: Resource<Reader>) -> Result<u64> {
        Ok(self.table.get(&reader)?.size)
    }

    async fn read(&mut self, reader: Resource<Reader>, max_bytes: u32) -> Result<Result<Vec<u8>, Error>> {
        let stream = self.table.get(&reader)?.stream.key;
        let max_bytes = max_bytes.min(u32::try_from(CHUNK_BYTES).unwrap_or(u32::MAX));
        answer!(self.attempt.call(Call::StreamRead { stream, max_bytes }).await, Reply::Bytes(bytes) => bytes)
    }

    async fn drop(&mut self, reader: Resource<Reader>) -> Result<()> {
        self.table.delete(reader)?;
        Ok(())
    }
}
