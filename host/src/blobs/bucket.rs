//! A bucket that somebody else's connection names, rather than the installation's own storage.

use std::sync::Arc;

use object_store::{aws::AmazonS3Builder, path::Path};
use reqwest::{Client, Url};
use tokio_util::task::TaskTracker;

use super::{BlobError, Blobs, location, transport::Connector};

/// Where a bucket is, and who asks.
#[derive(Clone, Copy)]
pub struct BucketConfig<'a> {
    /// Scheme, host and port of the server; its path is not looked at.
    pub endpoint: &'a Url,
    pub region: &'a str,
    pub bucket: &'a str,
    /// Stands before every key.
    pub prefix: &'a str,
    /// None: requests are not signed.
    pub keys: Option<BucketKeys<'a>>,
}

#[derive(Clone, Copy)]
pub struct BucketKeys<'a> {
    pub key_id: &'a str,
    pub secret_key: &'a str,
    pub session_token: Option<&'a str>,
}

impl Blobs {
    /// The objects of a bucket, by requests of `client`. Uploads that are given up are cleaned away by `aborts`.
    ///
    /// # Errors
    /// If the bucket can't be one.
    pub fn of_bucket(config: BucketConfig<'_>, client: Client, aborts: TaskTracker) -> Result<Self, BlobError> {
        let BucketConfig { endpoint, region, bucket, prefix, keys } = config;
        let origin = endpoint.origin().ascii_serialization();
        let mut builder = AmazonS3Builder::new()
            .with_endpoint(&origin)
            .with_allow_http(true)
            .with_virtual_hosted_style_request(false)
            .with_region(region)
            .with_bucket_name(bucket)
            .with_retry(location::retries())
            .with_http_connector(Connector::Given(client));
        builder = match keys {
            Some(BucketKeys { key_id, secret_key, session_token }) => {
                let builder = builder.with_access_key_id(key_id).with_secret_access_key(secret_key);
                session_token.into_iter().fold(builder, AmazonS3Builder::with_token)
            }
            None => builder.with_skip_signature(true),
        };
        let objects = builder.build()?;
        let prefix = Path::parse(prefix).map_err(|source| object_store::Error::InvalidPath { source })?;
        Ok(Self { objects: Arc::new(objects), prefix, place: format!("s3://{bucket}").into(), folder: None, aborts })
    }
}
