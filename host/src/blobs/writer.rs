//! Writing an object whose length is not known beforehand, in bounded memory.

use std::{mem, sync::Arc};

use bytes::Bytes;
use object_store::{Attributes, MultipartUpload, ObjectStore, PutPayload, PutPayloadMut, path::Path};
use tokio::{runtime::Handle, task::JoinSet};
use tokio_util::task::TaskTracker;

use super::BlobError;

/// S3 refuses smaller parts (but for the last) and more than 10,000 of them: objects may have 50 GB.
const PART_BYTES: usize = 5 << 20;
/// Parts under way at a time. With the one that is being filled, a writer holds 15 MiB at most.
const PARTS_UNDER_WAY: usize = 2;

/// An object in the making. Dropped before [`BlobWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    attributes: Attributes,
    part: PutPayloadMut,
    /// None: all of it is still in `part`.
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<object_store::Result<()>>,
    aborts: TaskTracker,
}

impl BlobWriter {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, path: Path, attributes: Attributes, aborts: TaskTracker) -> Self {
        Self { objects, path, attributes, part: PutPayloadMut::new(), upload: None, parts: JoinSet::new(), aborts }
    }

    /// Adds `bytes`; waits while too much is under way.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), BlobError> {
        loop {
            let room = PART_BYTES - self.part.content_length();
            if bytes.len() < room {
                self.part.extend_from_slice(&bytes);
                return Ok(());
            }
            self.part.extend_from_slice(&bytes.split_to(room));
            self.send_part().await?;
        }
    }

    /// Makes the object appear under its key.
    pub async fn finish(mut self) -> Result<(), BlobError> {
        if self.upload.is_none() {
            let payload = PutPayload::from(mem::take(&mut self.part));
            let options = mem::take(&mut self.attributes).into();
            self.objects.put_opts(&self.path, payload, options).await?;
            return Ok(());
        }
        if self.part.content_length() > 0 {
            self.send_part().await?;
        }
        self.wait_for_parts(0).await?;
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
        }
        // Nothing to give up any more.
        self.upload = None;
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), BlobError> {
        self.wait_for_parts(PARTS_UNDER_WAY - 1).await?;
        if self.upload.is_none() {
            let options = mem::take(&mut self.attributes).into();
            self.upload = Some(self.objects.put_multipart_opts(&self.path, options).await?);
        }
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let part = PutPayload::from(mem::take(&mut self.part));
        self.parts.spawn(upload.put_part(part));
        Ok(())
    }

    async fn wait_for_parts(&mut self, left: usize) -> Result<(), BlobError> {
        while self.parts.len() > left {
            if let Some(part) = self.parts.join_next().await {
                part.map_err(object_store::Error::from)??;
            }
        }
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        self.parts.abort_all();
        if let (Some(mut upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) {
            let abort = async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "an unfinished upload was left behind");
                }
            };
            self.aborts.spawn_on(abort, &runtime);
        }
    }
}
