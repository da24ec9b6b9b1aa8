//! From a url to a storage.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, local::LocalFileSystem, path::Path,
};
use reqwest::Url;

use super::{BlobError, transport::Connector};

/// What object storage is given to answer before a call fails, tries included.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// For one request; a part of an upload must get through in it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Opened = (Arc<dyn ObjectStore>, Path);

pub(super) fn open(url: &str) -> Result<Opened, BlobError> {
    open_with(url, &[])
}

/// Opens `url` with settings of its service besides those of the environment, as `("aws_region", "us-east-1")`.
pub(super) fn open_with(url: &str, settings: &[(&str, &str)]) -> Result<Opened, BlobError> {
    let wrong = |why: String| BlobError::Url { url: without_query(url).to_owned(), why };
    let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    match parsed.scheme() {
        "file" => {
            let folder = parsed.to_file_path().map_err(|()| wrong("it is not an absolute path".into()))?;
            if let Err(source) = std::fs::create_dir_all(&folder) {
                return Err(BlobError::Folder { path: folder, source });
            }
            Ok((local(&folder).map_err(wrong)?, Path::default()))
        }
        "s3" => s3(&parsed, settings).map_err(wrong),
        "az" => azure(&parsed, settings).map_err(wrong),
        "gs" => google(&parsed, settings).map_err(wrong),
        other => Err(wrong(format!("`{other}` is not a kind of storage that is known here"))),
    }
}

/// Credentials may stand in a query by mistake; errors are shown.
pub(super) fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// The folder that `url` names, if it names one.
pub(super) fn folder(url: &str) -> Option<PathBuf> {
    Url::parse(url).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()
}

fn local(folder: &PathBuf) -> Result<Arc<dyn ObjectStore>, String> {
    let files = LocalFileSystem::new_with_prefix(folder).map_err(|error| error.to_string())?;
    Ok(Arc::new(files.with_fsync(true)))
}

fn s3(url: &Url, settings: &[(&str, &str)]) -> Result<Opened, String> {
    let mut builder = AmazonS3Builder::from_env().with_virtual_hosted_style_request(false);
    for (name, value) in settings {
        builder = builder.with_config(key(name)?, *value);
    }
    let place = Place::of(url, &["endpoint", "region", "allow_http", "path_style"])?;
    for (name, value) in &place.words {
        builder = match name.as_str() {
            "endpoint" => builder.with_endpoint(value),
            "region" => builder.with_region(value),
            _ => builder.with_virtual_hosted_style_request(!flag(name, value)?),
        };
    }
    let builder = builder
        .with_bucket_name(place.bucket)
        .with_client_options(place.client)
        .with_retry(retries())
        .with_http_connector(Connector::Own);
    opened(builder.build(), place.prefix)
}

/// As the tools of Azure name it: `az://container/prefix`, in the account of `account` or `AZURE_STORAGE_ACCOUNT_NAME`.
fn azure(url: &Url, settings: &[(&str, &str)]) -> Result<Opened, String> {
    let mut builder = MicrosoftAzureBuilder::from_env();
    for (name, value) in settings {
        builder = builder.with_config(key(name)?, *value);
    }
    let place = Place::of(url, &["account", "endpoint", "allow_http"])?;
    for (name, value) in &place.words {
        builder = match name.as_str() {
            "account" => builder.with_account(value),
            _ => builder.with_endpoint(value.clone()),
        };
    }
    let builder = builder
        .with_container_name(place.bucket)
        .with_client_options(place.client)
        .with_retry(retries())
        .with_http_connector(Connector::Own);
    opened(builder.build(), place.prefix)
}

fn google(url: &Url, settings: &[(&str, &str)]) -> Result<Opened, String> {
    let mut builder = GoogleCloudStorageBuilder::from_env();
    for (name, value) in settings {
        builder = builder.with_config(key(name)?, *value);
    }
    let place = Place::of(url, &["endpoint", "allow_http"])?;
    for (_, value) in &place.words {
        builder = builder.with_base_url(value.trim_end_matches('/'));
    }
    let builder = builder
        .with_bucket_name(place.bucket)
        .with_client_options(place.client)
        .with_retry(retries())
        .with_http_connector(Connector::Own);
    opened(builder.build(), place.prefix)
}

/// What a url of a service says.
struct Place {
    bucket: String,
    prefix: Path,
    client: ClientOptions,
    /// The query, without what `client` has taken.
    words: Vec<(String, String)>,
}

impl Place {
    /// Reads a url whose query may have the words of `known`.
    fn of(url: &Url, known: &[&str]) -> Result<Self, String> {
        // reqwest is built without a default; a second call is refused, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();

        let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or("it names no bucket or container")?;
        let client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
        let prefix = Path::from_url_path(url.path()).map_err(|error| error.to_string())?;
        let mut place =
            Self { bucket: bucket.to_owned(), prefix, client: client.with_allow_http(false), words: Vec::new() };
        for (name, value) in url.query_pairs() {
            if !known.contains(&&*name) {
                let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
                return Err(format!("`{name}` is not known in it; {} are", known.join(", ")));
            }
            match &*name {
                "allow_http" => place.client = place.client.with_allow_http(flag(&name, &value)?),
                _ => place.words.push((name.into_owned(), value.into_owned())),
            }
        }
        Ok(place)
    }
}

fn flag(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("`{name}` must be `true` or `false`"))
}

fn key<K: FromStr<Err = Error>>(name: &str) -> Result<K, String> {
    name.parse().map_err(|error: Error| error.to_string())
}

fn opened<S: ObjectStore>(built: object_store::Result<S>, prefix: Path) -> Result<Opened, String> {
    built.map(|objects| (Arc::new(objects) as Arc<dyn ObjectStore>, prefix)).map_err(|error| error.to_string())
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
