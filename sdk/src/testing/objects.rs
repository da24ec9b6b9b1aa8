//! The objects of a native test's host: in memory.

use std::{collections::BTreeMap, ops::Bound};

use chrono::{DateTime, Utc};

use super::{
    Host, State,
    host::{check_media_type, with},
};
use crate::{error::HostError, objects::Object};

/// By connection and key.
pub(super) type Buckets = BTreeMap<(String, String), Vec<u8>>;

impl Host {
    /// Sets object `key` of connection `id`.
    pub fn object(self, id: &str, key: &str, content: impl Into<Vec<u8>>) -> Self {
        self.state.borrow_mut().objects.insert((id.to_owned(), key.to_owned()), content.into());
        self
    }

    /// Object `key` of connection `id`, if there is one now.
    pub fn object_of(&self, id: &str, key: &str) -> Option<Vec<u8>> {
        self.state.borrow().objects.get(&(id.to_owned(), key.to_owned())).cloned()
    }
}

pub struct Download {
    content: Vec<u8>,
    at: usize,
}

pub struct Upload {
    place: (String, String),
    content: Vec<u8>,
}

fn check(state: &State, id: &str) -> Result<(), HostError> {
    match &state.grants {
        Some(grants) if !grants.connections.iter().chain(grants.connection_secrets).any(|known| *known == id) => {
            Err(HostError::Denied(format!("connection:{id}")))
        }
        _ => Ok(()),
    }
}

/// As the server does.
fn check_key(key: &str) -> Result<(), HostError> {
    let good_part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    if key.len() > 1_024 || !key.split('/').all(good_part) {
        return Err(HostError::Invalid(format!(
            "`{key}` is no key of an object: parts divided by `/`, none of them empty, `.` or `..`, in at most 1024 bytes"
        )));
    }
    Ok(())
}

fn object(key: &str, content: &[u8]) -> Object {
    Object { key: key.to_owned(), size: content.len() as u64, modified_at: DateTime::<Utc>::UNIX_EPOCH, etag: None }
}

fn find<T>(id: &str, key: &str, found: impl FnOnce(&[u8]) -> T) -> Result<T, HostError> {
    check_key(key)?;
    with(key, |state| {
        check(state, id)?;
        let content = state.objects.get(&(id.to_owned(), key.to_owned()));
        let missing = || HostError::NotFound(format!("object `{key}` of `{id}`; set it with `Host::object`"));
        content.map(|content| found(content)).ok_or_else(missing)
    })
}

pub fn object_get(id: &str, key: &str) -> Result<(Object, Download), HostError> {
    find(id, key, |content| (object(key, content), Download { content: content.to_vec(), at: 0 }))
}

pub fn object_head(id: &str, key: &str) -> Result<Object, HostError> {
    find(id, key, |content| object(key, content))
}

pub fn object_put(id: &str, key: &str, media_type: &str) -> Result<Upload, HostError> {
    check_key(key)?;
    check_media_type(media_type)?;
    with(key, |state| {
        check(state, id)?;
        Ok(Upload { place: (id.to_owned(), key.to_owned()), content: Vec::new() })
    })
}

pub fn object_list(id: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<(Vec<Object>, bool), HostError> {
    if !prefix.is_empty() {
        check_key(prefix)?;
    }
    with(id, |state| {
        check(state, id)?;
        let first = Bound::Excluded((id.to_owned(), after.unwrap_or_default().to_owned()));
        let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let mut below = state
            .objects
            .range((first, Bound::Unbounded))
            .take_while(|((other, _), _)| other == id)
            .filter(|((_, key), _)| key.starts_with(&folder))
            .map(|((_, key), content)| object(key, content));
        let objects = below.by_ref().take(limit as usize).collect();
        Ok((objects, below.next().is_some()))
    })
}

pub fn object_delete(id: &str, key: &str) -> Result<(), HostError> {
    check_key(key)?;
    with(key, |state| {
        check(state, id)?;
        state.objects.remove(&(id.to_owned(), key.to_owned()));
        Ok(())
    })
}

impl Download {
    #[expect(clippy::unnecessary_wraps, reason = "the wasm side may fail")]
    pub fn read(&mut self, most: usize) -> Result<Vec<u8>, HostError> {
        let until = (self.at + most).min(self.content.len());
        let piece = self.content[self.at..until].to_vec();
        self.at = until;
        Ok(piece)
    }
}

impl Upload {
    #[expect(clippy::unnecessary_wraps, reason = "the wasm side may fail")]
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), HostError> {
        self.content.extend_from_slice(chunk);
        Ok(())
    }

    pub fn finish(self) -> Result<u64, HostError> {
        with(&self.place.1.clone(), |state| {
            let size = self.content.len() as u64;
            state.objects.insert(self.place, self.content);
            Ok(size)
        })
    }
}
