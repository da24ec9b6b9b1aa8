//! From a url to a storage.

use std::{path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, local::LocalFileSystem, path::Path,
};
use reqwest::Url;

use super::BlobError;

/// What object storage is given to answer before a call fails, tries included.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// For one request; a part of an upload must get through in it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn open(url: &str) -> Result<(Arc<dyn ObjectStore>, Path), BlobError> {
    open_with(url, None)
}

/// Opens `url` with S3 settings besides those of the environment.
pub(super) fn open_with<'a>(
    url: &str,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(Arc<dyn ObjectStore>, Path), BlobError> {
    let wrong = |why: String| BlobError::Url { url: without_query(url).to_owned(), why };
    let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    match parsed.scheme() {
        "file" => {
            let folder = parsed.to_file_path().map_err(|()| wrong("it is not an absolute path".into()))?;
            Ok((local(&folder).map_err(wrong)?, Path::default()))
        }
        "s3" => s3(&parsed, settings).map_err(wrong),
        other => Err(wrong(format!("`{other}` is not a kind of storage that is known here"))),
    }
}

/// Credentials may stand in a query by mistake; errors are shown.
fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

fn local(folder: &PathBuf) -> Result<Arc<dyn ObjectStore>, String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("its folder can't be made: {error}"))?;
    let files = LocalFileSystem::new_with_prefix(folder).map_err(|error| error.to_string())?;
    Ok(Arc::new(files.with_fsync(true)))
}

fn s3<'a>(
    url: &Url,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(Arc<dyn ObjectStore>, Path), String> {
    // reqwest is built without a default; a second call is refused, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or("it names no bucket")?;
    let mut client =
        ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT).with_allow_http(false);
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_virtual_hosted_style_request(false);
    for (name, value) in settings {
        let name = name.parse().map_err(|error: object_store::Error| error.to_string())?;
        builder = builder.with_config(name, value);
    }
    for (name, value) in url.query_pairs() {
        let flag = || value.parse::<bool>().map_err(|_| format!("`{name}` must be `true` or `false`"));
        match &*name {
            "endpoint" => builder = builder.with_endpoint(value),
            "region" => builder = builder.with_region(value),
            "allow_http" => client = client.with_allow_http(flag()?),
            "path_style" => builder = builder.with_virtual_hosted_style_request(!flag()?),
            other => {
                return Err(format!(
                    "`{other}` is not known in it; `endpoint`, `region`, `allow_http` and `path_style` are"
                ));
            }
        }
    }
    let objects =
        builder.with_client_options(client).with_retry(retries()).build().map_err(|error| error.to_string())?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| error.to_string())?;
    Ok((Arc::new(objects), prefix))
}

/// How often a request is made again that may work later.
pub(super) fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        // The time counts: five tries at a store that refuses connections would be over within a second.
        max_retries: 1_000,
        retry_timeout: RETRY_TIMEOUT,
    }
}
