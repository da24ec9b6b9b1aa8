//! `airlock:task/objects`, in the words of this crate.

use super::{imports::objects, instant};
use crate::{error::HostError, objects::Object};

pub struct Download(objects::Reader);

pub struct Upload(objects::Writer);

pub fn object_get(id: &str, key: &str) -> Result<(Object, Download), HostError> {
    let reader = objects::get(id, key)?;
    Ok((reader.info().into(), Download(reader)))
}

pub fn object_put(id: &str, key: &str, media_type: &str) -> Result<Upload, HostError> {
    Ok(Upload(objects::put(id, key, media_type)?))
}

pub fn object_head(id: &str, key: &str) -> Result<Object, HostError> {
    Ok(objects::head(id, key)?.into())
}

pub fn object_list(id: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<(Vec<Object>, bool), HostError> {
    let page = objects::list(id, prefix, after, limit)?;
    Ok((page.objects.into_iter().map(Object::from).collect(), page.has_more))
}

pub fn object_delete(id: &str, key: &str) -> Result<(), HostError> {
    Ok(objects::delete(id, key)?)
}

impl Download {
    pub fn read(&mut self, most: usize) -> Result<Vec<u8>, HostError> {
        Ok(self.0.read(u32::try_from(most).unwrap_or(u32::MAX))?)
    }
}

impl Upload {
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), HostError> {
        Ok(self.0.write(chunk)?)
    }

    pub fn finish(self) -> Result<u64, HostError> {
        Ok(self.0.finish()?)
    }
}

impl From<objects::Object> for Object {
    fn from(object: objects::Object) -> Self {
        Self { key: object.key, size: object.size, modified_at: instant(object.modified_at), etag: object.etag }
    }
}
