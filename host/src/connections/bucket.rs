//! A connection as a bucket of objects.

use reqwest::Url;
use serde_json::Value;

use super::{Connection, EndpointError, endpoint, refused_literally};
use crate::{
    blobs::{BucketConfig, BucketKeys},
    secrets::SecretString,
};

/// Where the objects of a connection are.
///
/// Its URL is that of the server; the bucket is the extra's `bucket_name`, or the schema, or the first part of the URL's path. The
/// rest of the path and the extra's `prefix` stand before every key.
#[derive(Debug)]
pub struct Bucket {
    endpoint: Url,
    region: String,
    name: String,
    prefix: String,
    keys: Option<(String, SecretString, Option<SecretString>)>,
}

impl Bucket {
    /// # Errors
    /// If the connection is no storage's, or does not say which bucket.
    pub fn of(connection: &Connection) -> Result<Self, EndpointError> {
        let row = &connection.row;
        let wrong = |what: &str| EndpointError::Wrong(format!("connection `{}` {what}", row.id));
        if !matches!(row.conn_type.as_str(), "aws" | "s3") {
            return Err(wrong(&format!("is of type `{}`; objects are those of type aws or s3", row.conn_type)));
        }
        let extra = connection.extra();
        if connection.extra.is_some() && !extra.is_object() {
            return Err(wrong("has an extra that is no JSON object"));
        }
        let text = |field: &str| extra.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let region = text("region_name").unwrap_or("us-east-1");
        let of_aws = format!("https://s3.{region}.amazonaws.com");
        let endpoint = endpoint::base(connection, text("endpoint_url").or(Some(&of_aws))).map_err(wrong)?;
        let mut parts = endpoint.path().split('/').filter(|part| !part.is_empty()).map(ToOwned::to_owned);
        let named = text("bucket_name").or(row.schema.as_deref().filter(|schema| !schema.is_empty()));
        let bucket = match named {
            Some(bucket) => bucket.to_owned(),
            None => parts.next().ok_or_else(|| wrong("names no bucket; write it as `bucket_name` in its extra"))?,
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !plain(&bucket) || !plain(region) {
            return Err(wrong("names a bucket or a region that can't be one"));
        }
        let own = text("prefix").unwrap_or_default().trim_matches('/').to_owned();
        let prefix = parts.chain((!own.is_empty()).then_some(own)).collect::<Vec<_>>().join("/");
        let secret = |field: &str| text(field).map(|text| SecretString::from(text.to_owned()));
        let login = row.login.clone().filter(|login| !login.is_empty());
        let keys = login.zip(connection.password.clone());
        let keys = keys.map(|(key_id, secret_key)| (key_id, secret_key, secret("aws_session_token")));
        Ok(Self { endpoint, region: region.to_owned(), name: bucket, prefix, keys })
    }

    /// Why its host must not be reached, if it is an address.
    pub fn refused(&self) -> Option<&'static str> {
        self.endpoint.host_str().and_then(refused_literally)
    }

    pub fn config(&self) -> BucketConfig<'_> {
        let keys = self.keys.as_ref().map(|(key_id, secret_key, session_token)| BucketKeys {
            key_id,
            secret_key: secret_key.expose(),
            session_token: session_token.as_ref().map(SecretString::expose),
        });
        let Self { endpoint, region, name, prefix, .. } = self;
        BucketConfig { endpoint, region, bucket: name, prefix, keys }
    }
}
