//! Objects of a connection that a test chooses.

use std::io::{Read as _, Write as _};

use airlock_sdk::{
    prelude::*,
    serde_json::{Value, json},
};

/// Does `steps` on a connection, one after the other; answers what came of each.
#[task]
pub fn stored(connection: String, steps: &[Value]) -> Vec<Value> {
    let bucket = objects::bucket(connection);
    steps
        .iter()
        .map(|step| perform(&bucket, step).unwrap_or_else(|error| json!({"error": error.to_string()})))
        .collect()
}

fn perform(bucket: &objects::Bucket, step: &Value) -> Result<Value> {
    let text = |field: &str| step[field].as_str();
    if let Some(key) = text("put") {
        let mut writer = bucket.put(key, "text/plain")?;
        let piece = vec![b'x'; 100_000];
        for _ in 0..step["pieces"].as_u64().unwrap_or(1) {
            writer.write_all(&piece)?;
        }
        if step["drop"] == true {
            return Ok(Value::Null);
        }
        return Ok(writer.finish()?.into());
    }
    if let Some(key) = text("write") {
        return Ok(bucket.write(key, "text/plain", text("content").unwrap_or_default())?.into());
    }
    if let Some(key) = text("length") {
        let mut reader = bucket.get(key)?;
        let size = reader.object().size;
        let mut buffer = vec![0; 300_000];
        let mut length = 0;
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(json!([size, length])),
                read => length += read,
            }
        }
    }
    if let Some(key) = text("read") {
        return Ok(String::from_utf8(bucket.read(key)?)?.into());
    }
    if let Some(key) = text("head") {
        return Ok(bucket.head(key)?.map(|object| object.size).into());
    }
    if let Some(key) = text("delete") {
        bucket.delete(key)?;
        return Ok(Value::Null);
    }
    let prefix = text("list").ok_or_else(|| Fatal::new("a step without a verb"))?;
    let keys: Vec<String> = bucket.list(prefix).map(|object| Ok(object?.key)).collect::<Result<_>>()?;
    Ok(json!(keys))
}
