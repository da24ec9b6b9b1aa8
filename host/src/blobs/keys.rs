//! The keys of objects. The server makes them: nothing that a user or a task chose stands in one.
//!
//! Random keys stand in 256 folders by their last two digits, which are random in every UUID version used here. Those of what an
//! attempt stores begin with its [`Stem`] and stand in the folder of its first two digits, so that all that it left can be found.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::model::{
    ids::{Digest, TaskId},
    spec::ComponentKind,
};

const COMPONENTS: &str = "components";
const XCOMS: &str = "xcoms";
const ARTIFACTS: &str = "artifacts";
const RECORDINGS: &str = "recordings";
/// The folders in which objects are; whatever else is in the storage is somebody else's.
pub const FOLDERS: [&str; 5] = [COMPONENTS, XCOMS, ARTIFACTS, RECORDINGS, "logs"];
/// Those in which attempts store something under their stems.
pub const OF_ATTEMPTS: [&str; 3] = [XCOMS, ARTIFACTS, RECORDINGS];

/// What tells the storage from others: an id, which its database names.
pub const MARK: &str = "airlock-storage";

/// Digits of a [`Stem`].
const STEM_DIGITS: usize = 32;

/// What the keys of all objects that an attempt stores have in common.
///
/// It follows from what is committed before the attempt starts. Whoever changes how, leaves behind what attempts stored that a server
/// of before had begun.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stem(String);

impl Stem {
    /// `dag_run`: its key. `restart`: how often this try was started before.
    pub fn of_attempt(dag_run: i64, task_id: &TaskId, map_index: i32, try_number: u32, restart: u32) -> Self {
        let names = format!("{dag_run} {task_id} {map_index} {try_number} {restart}");
        let mut digits = Digest(Sha256::digest(names).into()).to_string();
        digits.truncate(STEM_DIGITS);
        Self(digits)
    }

    /// The stem of the attempt that stored an object; none if its key has none.
    pub fn in_key(key: &str) -> Option<Self> {
        let (_, name) = key.rsplit_once('/')?;
        let (digits, _) = name.split_once('-')?;
        (digits.len() == STEM_DIGITS).then(|| Self(digits.to_owned()))
    }

    /// The folder below those of [`OF_ATTEMPTS`] in which the objects are.
    pub fn shard(&self) -> &str {
        &self.0[..2]
    }

    /// What the keys begin with in a folder of [`OF_ATTEMPTS`].
    pub fn prefix(&self, folder: &str) -> String {
        format!("{folder}/{}/{}-", self.shard(), self.0)
    }
}

/// A component's bytes.
pub fn component(digest: &Digest, kind: ComponentKind) -> String {
    let digest = digest.to_string();
    format!("{COMPONENTS}/{}/{digest}.{}", &digest[..2], kind.as_str())
}

/// Whether an object is a component's: the same key comes again with the same bytes.
pub fn is_component(key: &str) -> bool {
    key.split('/').next() == Some(COMPONENTS)
}

/// The component whose object it is.
pub fn component_of(key: &str) -> Option<Digest> {
    let (_, name) = key.strip_prefix(COMPONENTS)?.rsplit_once('/')?;
    name.split('.').next()?.parse().ok()
}

/// The value of an XCom of an attempt that is too large for the database.
pub fn xcom(of: &Stem, id: Uuid) -> String {
    marked(XCOMS, of, id)
}

/// The same of one that no attempt made.
pub fn xcom_by_hand(id: Uuid) -> String {
    sharded(XCOMS, id)
}

/// An artifact's bytes.
pub fn artifact(of: &Stem, id: Uuid) -> String {
    marked(ARTIFACTS, of, id)
}

/// The recording of an attempt.
pub fn recording(of: &Stem, id: Uuid) -> String {
    marked(RECORDINGS, of, id)
}

/// A piece of log of one or more attempts.
pub fn log_segment(id: Uuid) -> String {
    sharded("logs", id)
}

fn marked(folder: &str, of: &Stem, id: Uuid) -> String {
    of.prefix(folder) + &id.simple().to_string()
}

fn sharded(folder: &str, id: Uuid) -> String {
    let id = id.simple().to_string();
    format!("{folder}/{}/{id}", &id[id.len() - 2..])
}
