//! `airlock:task/objects`.

use wasmtime::{Result, component::Resource};

use super::{
    answer,
    artifacts::{CHUNK_BYTES, Stream},
};
use crate::{
    sandbox::{
        bindings::airlock::task::{
            objects::{self as wit, Object, Page},
            types::Error,
        },
        guest::Guest,
    },
    wire::{Call, ObjectInfo, Reply},
};

/// An object that is being read.
pub struct Download {
    stream: Stream,
    info: Object,
}

/// An object that is being written.
pub struct Upload {
    stream: Stream,
    finished: bool,
}

impl wit::Host for Guest {
    async fn get(&mut self, connection: String, key: String) -> Result<Result<Resource<Download>, Error>> {
        let call = Call::ObjectGet { connection, key };
        answer!(self.attempt.call(call).await, Reply::Object { stream, info } => {
            let download = Download { stream: self.stream(stream), info: info.into() };
            self.table.push(download)?
        })
    }

    async fn put(
        &mut self,
        connection: String,
        key: String,
        media_type: String,
    ) -> Result<Result<Resource<Upload>, Error>> {
        let call = Call::ObjectPut { connection, key, media_type };
        answer!(self.attempt.call(call).await, Reply::Stream { stream, .. } => {
            let upload = Upload { stream: self.stream(stream), finished: false };
            self.table.push(upload)?
        })
    }

    async fn list(
        &mut self,
        connection: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Result<Page, Error>> {
        let call = Call::ObjectList { connection, prefix, after, limit };
        answer!(self.attempt.call(call).await, Reply::Objects { objects, has_more } => {
            Page { objects: objects.into_iter().map(Object::from).collect(), has_more }
        })
    }

    async fn head(&mut self, connection: String, key: String) -> Result<Result<Object, Error>> {
        let call = Call::ObjectHead { connection, key };
        answer!(self.attempt.call(call).await, Reply::ObjectInfo(info) => info.into())
    }

    async fn delete(&mut self, connection: String, key: String) -> Result<Result<(), Error>> {
        answer!(self.attempt.call(Call::ObjectDelete { connection, key }).await, Reply::Unit => ())
    }
}

impl wit::HostReader for Guest {
    async fn info(&mut self, reader: Resource<Download>) -> Result<Object> {
        Ok(self.table.get(&reader)?.info.clone())
    }

    async fn read(&mut self, reader: Resource<Download>, max_bytes: u32) -> Result<Result<Vec<u8>, Error>> {
        let stream = self.table.get(&reader)?.stream.key;
        let max_bytes = max_bytes.min(u32::try_from(CHUNK_BYTES).unwrap_or(u32::MAX));
        answer!(self.attempt.call(Call::StreamRead { stream, max_bytes }).await, Reply::Bytes(bytes) => bytes)
    }

    async fn drop(&mut self, reader: Resource<Download>) -> Result<()> {
        self.table.delete(reader)?;
        Ok(())
    }
}

impl wit::HostWriter for Guest {
    async fn write(&mut self, writer: Resource<Upload>, chunk: Vec<u8>) -> Result<Result<(), Error>> {
        let upload = self.table.get(&writer)?;
        if upload.finished {
            return Ok(Err(Error::Invalid("the object is finished; nothing can be written to it".to_owned())));
        }
        if chunk.len() > CHUNK_BYTES {
            let text =
                format!("a chunk of {} bytes is above the limit of {CHUNK_BYTES}; write it in parts", chunk.len());
            return Ok(Err(Error::TooLarge(text)));
        }
        let stream = upload.stream.key;
        answer!(self.attempt.call(Call::ArtifactWrite { stream, chunk }).await, Reply::Unit => ())
    }

    async fn finish(&mut self, writer: Resource<Upload>) -> Result<Result<u64, Error>> {
        let upload = self.table.get_mut(&writer)?;
        if std::mem::replace(&mut upload.finished, true) {
            return Ok(Err(Error::Invalid("the object is finished already".to_owned())));
        }
        upload.stream.closed = true;
        let stream = upload.stream.key;
        answer!(self.attempt.call(Call::ArtifactFinish { stream }).await, Reply::Size(size) => size)
    }

    async fn drop(&mut self, writer: Resource<Upload>) -> Result<()> {
        self.table.delete(writer)?;
        Ok(())
    }
}

impl From<ObjectInfo> for Object {
    fn from(info: ObjectInfo) -> Self {
        Self { key: info.key, size: info.size_bytes, modified_at: info.modified_at.as_micros(), etag: info.etag }
    }
}
