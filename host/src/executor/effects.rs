//! What an attempt has done so far and nobody may see before it succeeds; and what it holds open.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    blobs::{BlobInfo, BlobWriter, Blobs},
    databases::{self, Rows},
    model::{
        asset::Added,
        ids::{AssetName, ConnectionId, DagId, Digest, XComKey},
        traffic::{MAX_AT_A_TIME, Traffic},
    },
    secrets::{Masker, SecretString},
    store::XComBody,
    wire::{CallError, StreamKey},
};

/// Larger values go to object storage.
pub(super) const INLINE_BYTES: usize = 64 << 10;
/// XComs of one attempt that are kept in memory until it ends; above it they go to object storage whatever their size.
const MAX_INLINE_BYTES: usize = 16 << 20;
const MAX_XCOMS: usize = 1_000;
/// Runs of dags that an attempt starts.
const MAX_RUNS: u32 = 1_000;
/// Bytes of the params of those runs together: the scheduler has them in memory while the runs wait.
const MAX_CONFS_BYTES: usize = 16 << 20;
/// Assets that an attempt updates through aliases.
const MAX_ADDED: usize = 1_000;
/// Bytes of what events of assets carry together, of outlets and of those through aliases: one commit takes them along.
const MAX_EXTRAS_BYTES: usize = 16 << 20;
const MAX_XCOM_BYTES: u64 = 256 << 20;
const MAX_ARTIFACTS: usize = 1_000;
const MAX_ARTIFACT_BYTES: u64 = 10 << 30;
/// Written to storages of connections.
const MAX_OBJECT_BYTES: u64 = 50 << 30;
/// Host calls of one attempt that are under way at a time.
const MAX_CALLS: u32 = 128;
/// Artifacts and responses of one attempt that are open at a time.
const MAX_STREAMS: usize = 128;
/// Connections to databases that are open at a time.
const MAX_SESSIONS: usize = 8;
/// Lines about missing grants in one attempt's log.
const MAX_DENIED_LINES: u32 = 20;

/// A pushed XCom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pushed {
    pub media_type: String,
    pub size_bytes: u64,
    pub body: XComBody,
}

/// An artifact that is written to its end.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub media_type: String,
    pub size_bytes: u64,
    pub sha256: Digest,
    pub blob: String,
}

/// Something that is open. Each is used by one call at a time.
#[derive(Debug, Clone)]
pub(super) enum Stream {
    Writer(Arc<tokio::sync::Mutex<Option<Writer>>>),
    Reader(Arc<tokio::sync::Mutex<Reader>>),
    Body(Arc<tokio::sync::Mutex<Body>>),
    Object(Arc<tokio::sync::Mutex<Object>>),
    Upload(Arc<tokio::sync::Mutex<Option<Upload>>>),
    Session(Arc<Session>),
    Rows(Arc<tokio::sync::Mutex<Rows>>),
}

/// An object of a connection that is being read.
#[derive(Debug)]
pub(super) struct Object {
    pub blobs: Blobs,
    pub connection: ConnectionId,
    pub info: BlobInfo,
    /// How far it was read from the storage.
    pub at: u64,
    /// Read from the storage, not yet by the guest.
    pub rest: Bytes,
}

/// One that is being written.
#[derive(Debug)]
pub(super) struct Upload {
    pub connection: ConnectionId,
    pub to: BlobWriter,
    pub size_bytes: u64,
    /// One of the writers that may be open at a time in all.
    pub _slot: OwnedSemaphorePermit,
}

/// A connection to a database.
#[derive(Debug)]
pub(super) struct Session {
    pub session: databases::Session,
    pub _slot: OwnedSemaphorePermit,
}

/// An artifact that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    pub name: String,
    pub media_type: String,
    pub blob: String,
    pub to: BlobWriter,
    pub hash: sha2::Sha256,
    pub size_bytes: u64,
    /// One of the writers that may be open at a time in all.
    pub _slot: OwnedSemaphorePermit,
}

/// An artifact that is being read.
#[derive(Debug)]
pub(super) struct Reader {
    pub blob: String,
    pub size_bytes: u64,
    /// How far it was read from storage.
    pub at: u64,
    /// Read from storage, not yet by the guest.
    pub rest: Bytes,
}

/// The body of an HTTP response.
#[derive(Debug)]
pub(super) struct Body {
    pub host: String,
    pub response: reqwest::Response,
    /// Read from the network, not yet by the guest.
    pub rest: Bytes,
    pub size_bytes: u64,
    pub until: tokio::time::Instant,
    pub _slot: OwnedSemaphorePermit,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Effects {
    pub xcoms: BTreeMap<XComKey, Pushed>,
    pub artifacts: BTreeMap<String, Finished>,
    /// What the events of outlets are to carry, if the attempt said so.
    pub asset_extras: BTreeMap<AssetName, String>,
    /// What it updated through aliases, by alias and asset.
    pub added: BTreeMap<(AssetName, AssetName), Added>,
    /// What the instance is called, if the attempt said so.
    pub label: Option<String>,
    /// How long to wait before the next try, if the attempt said so.
    pub retry_delay: Option<Duration>,
    pub streams: HashMap<StreamKey, Stream>,
    /// Of all `secrets`, if something was masked since the last of them came.
    masker: OnceLock<Masker>,
    secrets: Vec<SecretString>,
    /// Those of them that a recording must not hold.
    unrecorded: Vec<SecretString>,
    /// Ends what is under way for the attempt.
    pub over: CancellationToken,
    http: Arc<Semaphore>,
    pub sessions: Arc<Semaphore>,
    /// What it has used of the network.
    pub traffic: Traffic,
    /// Bytes of all writers, finished or not; discarded ones count.
    artifact_bytes: u64,
    /// Bytes of all objects, finished or not.
    object_bytes: u64,
    last_stream: u32,
    /// How many runs of each dag were asked for.
    runs: BTreeMap<DagId, u32>,
    /// Bytes of their params.
    conf_bytes: usize,
    calls: u32,
    denied: u32,
    log_bytes: u64,
    log_is_over: bool,
}

impl Default for Effects {
    fn default() -> Self {
        Self {
            xcoms: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            asset_extras: BTreeMap::new(),
            added: BTreeMap::new(),
            label: None,
            retry_delay: None,
            streams: HashMap::new(),
            masker: OnceLock::new(),
            secrets: Vec::new(),
            unrecorded: Vec::new(),
            over: CancellationToken::new(),
            http: Arc::new(Semaphore::new(MAX_AT_A_TIME as usize)),
            sessions: Arc::new(Semaphore::new(MAX_SESSIONS)),
            traffic: Traffic::default(),
            artifact_bytes: 0,
            object_bytes: 0,
            last_stream: 0,
            runs: BTreeMap::new(),
            conf_bytes: 0,
            calls: 0,
            denied: 0,
            log_bytes: 0,
            log_is_over: false,
        }
    }
}

impl Effects {
    /// Keeps an asset that was updated through an alias, in place of what was said of it before.
    pub fn add_asset(&mut self, added: Added) -> Result<(), CallError> {
        let key = (added.alias.clone(), added.name.clone());
        if self.added.len() >= MAX_ADDED && !self.added.contains_key(&key) {
            return Err(CallError::TooLarge(format!(
                "the attempt updates more than {MAX_ADDED} assets through aliases"
            )));
        }
        self.admit_extra(self.added.get(&key).map(|before| &before.extra), &added.extra)?;
        self.added.insert(key, added);
        Ok(())
    }

    /// Keeps what the event of an outlet is to carry, in place of what was said of it before.
    pub fn set_extra(&mut self, name: AssetName, extra: String) -> Result<(), CallError> {
        self.admit_extra(self.asset_extras.get(&name), &extra)?;
        self.asset_extras.insert(name, extra);
        Ok(())
    }

    /// Whether an event may carry `extra`, in place of what it carried `before`.
    fn admit_extra(&self, before: Option<&String>, extra: &str) -> Result<(), CallError> {
        let all = self.asset_extras.values().chain(self.added.values().map(|added| &added.extra));
        let others = all.map(String::len).sum::<usize>() - before.map_or(0, String::len);
        if others + extra.len() > MAX_EXTRAS_BYTES {
            return Err(CallError::TooLarge(format!(
                "what the events of the attempt's assets carry is more than {MAX_EXTRAS_BYTES} bytes together"
            )));
        }
        Ok(())
    }

    /// Counts a call that begins.
    pub fn begin_call(&mut self) -> Result<(), CallError> {
        if self.calls >= MAX_CALLS {
            return Err(CallError::Unavailable(format!("more than {MAX_CALLS} host calls at a time")));
        }
        self.calls += 1;
        Ok(())
    }

    pub fn end_call(&mut self) {
        self.calls = self.calls.saturating_sub(1);
    }

    /// The place of an HTTP exchange, which is taken until the response is read to its end or dropped; none if `at_a_time` are.
    pub fn http_slot(&self, at_a_time: u32) -> Option<OwnedSemaphorePermit> {
        let free = self.http.available_permits();
        if free + at_a_time as usize <= MAX_AT_A_TIME as usize {
            return None;
        }
        Arc::clone(&self.http).try_acquire_owned().ok()
    }

    /// Counts a run of `dag_id` that is asked for with params of so many bytes; answers how many of that dag were before.
    pub fn count_run(&mut self, dag_id: &DagId, conf_bytes: usize) -> Result<u32, CallError> {
        if self.runs.values().sum::<u32>() >= MAX_RUNS {
            let text = format!("the run of dag `{dag_id}` is one more than the {MAX_RUNS} that an attempt may start");
            return Err(CallError::TooLarge(text));
        }
        if self.conf_bytes + conf_bytes > MAX_CONFS_BYTES {
            let text = format!(
                "with the run of dag `{dag_id}` the params of the runs that the attempt starts are more than {MAX_CONFS_BYTES} bytes"
            );
            return Err(CallError::TooLarge(text));
        }
        self.conf_bytes += conf_bytes;
        let count = self.runs.entry(dag_id.clone()).or_default();
        *count += 1;
        Ok(*count - 1)
    }

    /// Whether a line about this refusal is still wanted.
    pub fn count_denied(&mut self) -> bool {
        self.denied = self.denied.saturating_add(1);
        self.denied <= MAX_DENIED_LINES
    }

    /// Takes `bytes` from the attempt's allowance of log; false if it is used up.
    pub fn count_log(&mut self, bytes: u64, limit: u64) -> bool {
        self.log_bytes = self.log_bytes.saturating_add(bytes);
        self.log_bytes <= limit
    }

    /// The dag may write no more lines today; whether the log does not say so yet.
    pub fn log_is_over(&mut self) -> bool {
        !std::mem::replace(&mut self.log_is_over, true)
    }

    /// Whether `key` may be pushed with a value of `size` bytes, and if so whether the value stays in memory.
    pub fn admit_xcom(&self, key: &XComKey, size: usize) -> Result<bool, CallError> {
        if self.xcoms.len() >= MAX_XCOMS && !self.xcoms.contains_key(key) {
            return Err(CallError::TooLarge(format!("xcom `{key}` is one more than the {MAX_XCOMS} of an attempt")));
        }
        let (mut all, mut inline) = (size as u64, size);
        for (other, pushed) in &self.xcoms {
            if other != key {
                all += pushed.size_bytes;
                if let XComBody::Inline(bytes) = &pushed.body {
                    inline += bytes.len();
                }
            }
        }
        if all > MAX_XCOM_BYTES {
            return Err(CallError::TooLarge(format!(
                "xcom `{key}` of {size} bytes makes {all} in all; the limit of an attempt is {MAX_XCOM_BYTES}"
            )));
        }
        Ok(size <= INLINE_BYTES && inline <= MAX_INLINE_BYTES)
    }

    /// Takes what was pushed; answers the key of a blob that nobody needs any more.
    pub fn push_xcom(&mut self, key: XComKey, pushed: Pushed) -> Option<String> {
        self.xcoms.insert(key, pushed)?.body.into_blob()
    }

    pub fn open_stream(&mut self, stream: Stream) -> Result<StreamKey, CallError> {
        if self.streams.len() >= MAX_STREAMS {
            return Err(CallError::Unavailable(format!(
                "more than {MAX_STREAMS} artifacts, responses and answers open at a time"
            )));
        }
        self.last_stream += 1;
        let key = StreamKey(self.last_stream);
        self.streams.insert(key, stream);
        Ok(key)
    }

    /// Hides `secrets` in all that the attempt says from now on, and `unrecorded` in a recording of it.
    pub fn hide(&mut self, secrets: Vec<SecretString>, unrecorded: Vec<SecretString>) {
        add_new(&mut self.unrecorded, unrecorded);
        if add_new(&mut self.secrets, secrets) {
            self.masker = OnceLock::new();
        }
    }

    /// Masks what was hidden so far. It is made when it is needed, for that takes long: a task may read a thousand variables in a row.
    pub fn masker(&self) -> &Masker {
        self.masker.get_or_init(|| Masker::new(self.secrets.iter().map(SecretString::expose)))
    }

    /// Masks what a recording must not hold.
    pub fn recording_masker(&self) -> Masker {
        Masker::new(self.unrecorded.iter().map(SecretString::expose))
    }

    /// Whether one more artifact may be begun.
    pub fn admit_artifact(&self, name: &str) -> Result<(), CallError> {
        let open = self.streams.values().filter(|stream| matches!(stream, Stream::Writer(_))).count();
        if self.artifacts.len() + open >= MAX_ARTIFACTS && !self.artifacts.contains_key(name) {
            return Err(CallError::TooLarge(format!(
                "artifact `{name}` is one more than the {MAX_ARTIFACTS} of an attempt"
            )));
        }
        Ok(())
    }

    pub fn count_artifact_bytes(&mut self, name: &str, bytes: usize) -> Result<(), CallError> {
        let all = self.artifact_bytes + bytes as u64;
        if all > MAX_ARTIFACT_BYTES {
            return Err(CallError::TooLarge(format!(
                "artifact `{name}` makes {all} bytes in all; the limit of an attempt is {MAX_ARTIFACT_BYTES}"
            )));
        }
        self.artifact_bytes = all;
        Ok(())
    }

    pub fn count_object_bytes(&mut self, bytes: usize) -> Result<(), CallError> {
        let all = self.object_bytes + bytes as u64;
        if all > MAX_OBJECT_BYTES {
            return Err(CallError::TooLarge(format!(
                "the objects have {all} bytes in all; the limit of an attempt is {MAX_OBJECT_BYTES}"
            )));
        }
        self.object_bytes = all;
        Ok(())
    }

    /// The blobs that nobody will name if the attempt did not succeed.
    pub fn blobs(&self) -> Vec<String> {
        let xcoms = self.xcoms.values().filter_map(|pushed| match &pushed.body {
            XComBody::Blob(blob) => Some(blob.clone()),
            XComBody::Inline(_) => None,
        });
        xcoms.chain(self.artifacts.values().map(|artifact| artifact.blob.clone())).collect()
    }
}

/// Adds what is not there yet: an attempt gets the same secrets with each of its calls. Whether there was any.
fn add_new(known: &mut Vec<SecretString>, secrets: Vec<SecretString>) -> bool {
    let before = known.len();
    for secret in secrets {
        if !known.contains(&secret) {
            known.push(secret);
        }
    }
    known.len() > before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_used_again_and_again_is_held_once() {
        let mut effects = Effects::default();
        let secrets = || vec![SecretString::from("hunter22".to_owned()), SecretString::from("token-1".to_owned())];
        for _ in 0..3 {
            effects.hide(secrets(), secrets());
        }
        assert_eq!((effects.secrets.len(), effects.unrecorded.len()), (2, 2));
        assert!(effects.masker().finds(b"a token-1") && effects.recording_masker().finds(b"a token-1"));
    }

    #[test]
    fn a_thousand_secrets_in_a_row_are_made_into_a_masker_once() {
        let mut effects = Effects::default();
        for at in 0..1_000 {
            effects.hide(vec![format!("secret-{at}").into()], Vec::new());
            assert!(effects.masker.get().is_none());
        }
        assert_eq!(effects.masker().mask("secret-7 secret-999"), "*** ***");
        effects.hide(vec!["another".to_owned().into()], Vec::new());
        assert_eq!(effects.masker().mask("another secret-7"), "*** ***");
    }

    #[test]
    fn params_of_runs_and_extras_of_assets_have_a_bound_together() {
        let mut effects = Effects::default();
        let dag_id = DagId::new("d").unwrap();
        for before in 0..16 {
            assert_eq!(effects.count_run(&dag_id, 1 << 20).unwrap(), before);
        }
        assert!(matches!(effects.count_run(&dag_id, 1), Err(CallError::TooLarge(_))));
        assert_eq!(effects.count_run(&dag_id, 0).unwrap(), 16);

        let name = |name: &str| AssetName::new(name).unwrap();
        let mut add = |at: usize, bytes: usize| {
            let (uri, extra) = (format!("a{at}"), "x".repeat(bytes));
            effects.add_asset(Added { alias: name("all"), name: name(&uri), uri, group: String::new(), extra })
        };
        for at in 0..16 {
            add(at, 1 << 20).unwrap();
        }
        assert!(matches!(add(16, 1), Err(CallError::TooLarge(_))));
        // What is said anew takes the place of what was said.
        add(0, 1 << 10).unwrap();
        add(16, 1 << 10).unwrap();
        assert!(matches!(add(0, 1 << 20), Err(CallError::TooLarge(_))));
        // Outlets count as well.
        let mut set = |bytes: usize| effects.set_extra(name("outlet"), "x".repeat(bytes));
        set((1 << 20) - (2 << 10)).unwrap();
        assert!(matches!(set(1 << 20), Err(CallError::TooLarge(_))));
        set((1 << 20) - (2 << 10)).unwrap();
    }
}
