//! Object storage: components, logs, artifacts and large XComs, in a local folder, or in a bucket of S3, Azure or Google Cloud.
//!
//! It promises that an object which was stored is whole and durable: it appears under its key all at once, or
//! never. It decides no race: keys are unique (see [`keys`]) and the database says which of them counts. So it asks
//! nothing of a server but GET, PUT, COPY, DELETE, LIST and multipart uploads.

mod bucket;
mod error;
pub mod keys;
mod location;
mod signature;
mod transport;
mod unfinished;
mod writer;

use std::{future::ready, ops::Range, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{
    Attribute, Attributes, GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, memory::InMemory,
    path::Path,
};
use tokio_util::task::TaskTracker;

pub use bucket::{BucketConfig, BucketKeys};
pub use error::BlobError;
pub use signature::Signer;
pub use writer::BlobWriter;

use crate::model::time::Timestamp;

/// What a stream asks for at a time: a request for it is over long before its time is.
const PIECE_BYTES: u64 = 4 << 20;

/// Object storage. Clones share it.
#[derive(Debug, Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    /// Stands before every key.
    prefix: Path,
    /// Where they are, for people.
    place: Arc<str>,
    /// If they are in one.
    folder: Option<PathBuf>,
    /// Uploads that are being given up.
    aborts: TaskTracker,
}

/// An object that is being read.
pub struct BlobRead {
    /// The object's whole length.
    pub size_bytes: u64,
    pub stream: BoxStream<'static, Result<Bytes, BlobError>>,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    pub key: String,
    pub size_bytes: u64,
    pub modified_at: Timestamp,
    /// Changes with the object, if the storage says so.
    pub etag: Option<String>,
}

impl Blobs {
    /// Opens the storage at `url`: `file:///path` (made if it is not there) or
    /// `s3://bucket/prefix?endpoint=http://host:9000&region=us-east-1&allow_http=true&path_style=true`.
    ///
    /// S3 credentials come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or from the machine's or pod's role. As well
    /// `az://container/prefix?account=name` with the `AZURE_*` and `gs://bucket/prefix` with the `GOOGLE_*` of their tools.
    pub fn open(url: &str) -> Result<Self, BlobError> {
        let (objects, prefix) = location::open(url)?;
        Ok(Self {
            objects,
            prefix,
            place: location::without_query(url).trim_end_matches('/').into(),
            folder: location::folder(url),
            aborts: TaskTracker::new(),
        })
    }

    /// Whether `url` names no folder, or one that is there: [`open`](Self::open) makes it else.
    pub fn is_there(url: &str) -> bool {
        location::folder(url).is_none_or(|folder| folder.is_dir())
    }

    /// Storage that is gone with the process, for trying a dag out.
    pub fn in_memory() -> Self {
        Self {
            objects: Arc::new(InMemory::new()),
            prefix: Path::default(),
            place: "memory".into(),
            folder: None,
            aborts: TaskTracker::new(),
        }
    }

    /// As [`in_memory`](Self::in_memory), where each answer to a read takes so long.
    #[cfg(test)]
    pub fn slow_in_memory(answer: std::time::Duration) -> Self {
        use object_store::throttle::{ThrottleConfig, ThrottledStore};
        let config = ThrottleConfig { wait_get_per_call: answer, ..ThrottleConfig::default() };
        Self { objects: Arc::new(ThrottledStore::new(InMemory::new(), config)), ..Self::in_memory() }
    }

    /// Where the objects are, for people: the url without its query, in which a secret may stand by mistake.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Stores an object. One of the same key is replaced.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BlobError> {
        let mut writer = self.writer(key)?;
        writer.write(bytes).await?;
        writer.finish().await
    }

    /// A whole object. For small ones: see [`Blobs::stream`].
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, BlobError> {
        match self.open_object(key).await? {
            Some(object) => Ok(Some(object.bytes().await?)),
            None => Ok(None),
        }
    }

    /// The bytes of an object from `range.start` to before `range.end`, or to its end.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BlobError> {
        found(self.objects.get_range(&self.path(key)?, range).await)
    }

    /// An object, piece by piece. No request is open while nobody asks for the next one: it may be read as slowly as one likes.
    pub async fn stream(&self, key: &str) -> Result<Option<BlobRead>, BlobError> {
        let Some(BlobInfo { key, size_bytes, .. }) = self.info(key).await? else { return Ok(None) };
        let pieces = stream::try_unfold((self.clone(), key, 0), move |(blobs, key, at)| async move {
            if at >= size_bytes {
                return Ok(None);
            }
            let piece = blobs.get_range(&key, at..size_bytes.min(at + PIECE_BYTES)).await?;
            let piece = piece.filter(|piece| !piece.is_empty()).ok_or_else(|| object_store::Error::NotFound {
                path: key.clone(),
                source: "it was deleted while it was read".into(),
            })?;
            let next = at + piece.len() as u64;
            Ok::<_, BlobError>(Some((piece, (blobs, key, next))))
        });
        Ok(Some(BlobRead { size_bytes, stream: pieces.boxed() }))
    }

    /// Begins an object of unknown length. It is there when [`BlobWriter::finish`] returns.
    pub fn writer(&self, key: &str) -> Result<BlobWriter, BlobError> {
        Ok(BlobWriter::new(Arc::clone(&self.objects), self.path(key)?, Attributes::new(), self.aborts.clone()))
    }

    /// Makes `to` an object of the same bytes as `from`, without moving them through here: a second name in a folder, a copy by
    /// the server in a bucket (S3: at most 5 GiB). False: there is no `from`.
    pub async fn copy(&self, from: &str, to: &str) -> Result<bool, BlobError> {
        Ok(found(self.objects.copy(&self.path(from)?, &self.path(to)?).await)?.is_some())
    }

    /// Whether there is such an object.
    pub async fn exists(&self, key: &str) -> Result<bool, BlobError> {
        Ok(found(self.objects.head(&self.path(key)?).await)?.is_some())
    }

    /// Deletes an object; one that is not there is as good as deleted.
    pub async fn delete(&self, key: &str) -> Result<(), BlobError> {
        found(self.objects.delete(&self.path(key)?).await)?;
        Ok(())
    }

    /// Deletes objects, many with one request where the storage can.
    ///
    /// # Errors
    /// The first thing that went wrong. Some of the objects may be gone then; call it again.
    pub async fn delete_many(&self, keys: &[String]) -> Result<(), BlobError> {
        self.delete_each(keys).await.1
    }

    /// As [`delete_many`](Self::delete_many); answers those as well that are gone, whatever went wrong with others.
    pub async fn delete_each(&self, keys: &[String]) -> (Vec<String>, Result<(), BlobError>) {
        let paths = match keys.iter().map(|key| self.path(key).map(Ok)).collect::<Result<Vec<_>, _>>() {
            Ok(paths) => paths,
            Err(error) => return (Vec::new(), Err(error)),
        };
        let deleted: Vec<_> = self.objects.delete_stream(stream::iter(paths).boxed()).map(found).collect().await;
        let gone = if deleted.iter().all(Result::is_ok) {
            keys.to_vec()
        } else if deleted.len() == keys.len() {
            // They come in the order of the keys.
            keys.iter().zip(&deleted).filter(|(_, deleted)| deleted.is_ok()).map(|(key, _)| key.clone()).collect()
        } else {
            // A request for many that failed is one error for all of them.
            Vec::new()
        };
        (gone, deleted.into_iter().try_for_each(|deleted| deleted.map(drop)))
    }

    /// The objects whose keys start with the folder `prefix`, in no order.
    pub fn list(&self, prefix: &str) -> Result<BoxStream<'static, Result<BlobInfo, BlobError>>, BlobError> {
        let (path, own) = (self.path(prefix)?, self.prefix.clone());
        let listed = self.objects.list(Some(&path)).map_ok(move |meta| BlobInfo::of(meta, &own));
        Ok(listed.map_err(BlobError::from).boxed())
    }

    /// The objects below the folder `prefix` whose keys come later than `after`: in a bucket, by their keys.
    pub fn list_after(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, Result<BlobInfo, BlobError>>, BlobError> {
        let Some(after) = after else { return self.list(prefix) };
        let (path, own) = (self.path(prefix)?, self.prefix.clone());
        let listed = self.objects.list_with_offset(Some(&path), &self.path(after)?);
        Ok(listed.map_ok(move |meta| BlobInfo::of(meta, &own)).map_err(BlobError::from).boxed())
    }

    /// Keys of the folder `prefix` from those that begin with `first` to those that begin with `last`, without a look at the others
    /// where the storage can.
    pub fn list_between(
        &self,
        prefix: &str,
        first: &str,
        last: &str,
    ) -> Result<BoxStream<'static, Result<String, BlobError>>, BlobError> {
        let last = last.to_owned();
        let is_beyond = move |key: &str| key > last.as_str() && !key.starts_with(&last);
        let keys = self.list_after(prefix, Some(first))?.map_ok(|blob| blob.key);
        // A folder is listed in no order.
        if self.folder.is_some() {
            return Ok(keys.try_filter(move |key| ready(!is_beyond(key))).boxed());
        }
        Ok(keys.try_take_while(move |key| ready(Ok(!is_beyond(key)))).boxed())
    }

    /// What is known of an object.
    pub async fn info(&self, key: &str) -> Result<Option<BlobInfo>, BlobError> {
        let found = found(self.objects.head(&self.path(key)?).await)?;
        Ok(found.map(|meta| BlobInfo::of(meta, &self.prefix)))
    }

    /// The bytes of an object that is still the one that `info` tells of; none if it is not.
    pub async fn get_range_of(&self, info: &BlobInfo, range: Range<u64>) -> Result<Option<Bytes>, BlobError> {
        let options = GetOptions { range: Some(range.into()), if_match: info.etag.clone(), ..GetOptions::default() };
        match found(self.objects.get_opts(&self.path(&info.key)?, options).await) {
            Ok(Some(object)) => Ok(Some(object.bytes().await?)),
            Ok(None) | Err(BlobError::Refused(object_store::Error::Precondition { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`writer`](Self::writer), with a media type.
    pub fn writer_of(&self, key: &str, media_type: &str) -> Result<BlobWriter, BlobError> {
        let attributes = Attributes::from_iter([(Attribute::ContentType, media_type.to_owned())]);
        Ok(BlobWriter::new(Arc::clone(&self.objects), self.path(key)?, attributes, self.aborts.clone()))
    }

    /// Whether the storage answers and accepts the credentials.
    pub async fn ping(&self) -> Result<(), BlobError> {
        self.get("ping").await?;
        Ok(())
    }

    /// Waits until uploads that were given up are cleaned away.
    pub async fn close(&self) {
        self.aborts.close();
        self.aborts.wait().await;
    }

    async fn open_object(&self, key: &str) -> Result<Option<GetResult>, BlobError> {
        found(self.objects.get(&self.path(key)?).await)
    }

    fn path(&self, key: &str) -> Result<Path, BlobError> {
        let key = Path::parse(key).map_err(|source| object_store::Error::InvalidPath { source })?;
        Ok(self.prefix.parts().chain(key.parts()).collect())
    }
}

impl BlobInfo {
    fn of(meta: ObjectMeta, prefix: &Path) -> Self {
        let parts = meta.location.prefix_match(prefix).into_iter().flatten();
        let key = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
        Self { key, size_bytes: meta.size, modified_at: meta.last_modified.into(), etag: meta.e_tag }
    }
}

/// Turns "not there" into `None`.
fn found<T>(result: object_store::Result<T>) -> Result<Option<T>, BlobError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
