//! The keys of objects. The server makes them: nothing that a user or a task chose stands in one.
//!
//! Random keys stand in 256 folders by their last two digits, which are random in every UUID version used here.

use uuid::Uuid;

use crate::model::{ids::Digest, spec::ComponentKind};

const COMPONENTS: &str = "components";
/// The folders in which objects are; whatever else is in the storage is somebody else's.
pub const FOLDERS: [&str; 5] = [COMPONENTS, "xcoms", "artifacts", "recordings", "logs"];

/// What tells the storage from others: an id, which its database names.
pub const MARK: &str = "airlock-storage";

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

/// The value of an XCom that is too large for the database.
pub fn xcom(id: Uuid) -> String {
    sharded("xcoms", id)
}

/// An artifact's bytes.
pub fn artifact(id: Uuid) -> String {
    sharded("artifacts", id)
}

/// The recording of an attempt.
pub fn recording(id: Uuid) -> String {
    sharded("recordings", id)
}

/// A piece of log of one or more attempts.
pub fn log_segment(id: Uuid) -> String {
    sharded("logs", id)
}

fn sharded(folder: &str, id: Uuid) -> String {
    let id = id.simple().to_string();
    format!("{folder}/{}/{id}", &id[id.len() - 2..])
}
