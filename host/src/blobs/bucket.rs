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
            // Tasks delete one at a time, which all storages know.
            .with_disable_bulk_delete(true)
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn an_object_is_deleted_without_a_request_that_some_storages_lack() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let config = BucketConfig { endpoint: &endpoint, region: "r", bucket: "b", prefix: "team", keys: None };
        // Answers with an error if one is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().build().unwrap();
        let blobs = Blobs::of_bucket(config, client, TaskTracker::new()).unwrap();
        let storage = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut asked).await.unwrap() > 0);
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8(asked).unwrap()
        };
        let (deleted, asked) = tokio::join!(blobs.delete("a/b c"), storage);
        deleted.unwrap();
        assert!(asked.starts_with("DELETE /b/team/a/b%20c "), "{asked}");
    }
}
