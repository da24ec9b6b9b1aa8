//! Storage of Azure and of Google Cloud in small: as much of their HTTP APIs as Airlock asks for, in this process, in memory.
//!
//! They check what their originals check: the signature (Azure's Shared Key) or the token of each request, that a part belongs to an
//! upload, that an object is still the one that is asked for. Lists come in pages of three.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Url;
use sha2::Sha256;
use tokio::{net::TcpListener, task::JoinSet};

/// Azure's account.
pub const ACCOUNT: &str = "airlocktest";
/// Azure's key, which is base64, and Google's token.
pub const KEY: &str = "YWlybG9jay10ZXN0LWtleQ==";
/// The one container, or bucket.
pub const BUCKET: &str = "airlock";

const PAGE: usize = 3;
const WHEN: &str = "Sun, 22 Nov 2026 07:00:00 GMT";
const WHEN_XML: &str = "2026-11-22T07:00:00Z";

/// Whose storage it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Azure,
    Google,
}

/// A server; it ends when it is dropped.
#[derive(Debug)]
pub struct Cloud {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    service: Service,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Each with the number that its ETag is made of.
    objects: BTreeMap<String, (Bytes, u64)>,
    /// Parts of uploads, by upload (of Azure, by the object's key) and name or number.
    parts: BTreeMap<(String, String), Bytes>,
    last: u64,
    /// Bytes of the largest request.
    largest: usize,
}

/// A request.
struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    /// Decoded; empty if it is about the bucket.
    key: String,
    query: BTreeMap<String, String>,
}

impl Cloud {
    pub async fn start(service: Service) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared { service, kept: Mutex::default() });
        let app = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.expect("it serves until it is dropped") });
        Self { address, shared, _serving: serving }
    }

    /// For `--storage-url`, without credentials.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{BUCKET}/files?endpoint=http://{}&allow_http=true", self.address)
    }

    /// What the server's variables have to say.
    pub fn env(&self) -> &'static [(&'static str, &'static str)] {
        match self.shared.service {
            Service::Azure => &[("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT), ("AZURE_STORAGE_ACCOUNT_KEY", KEY)],
            Service::Google => &[("GOOGLE_BEARER_TOKEN", KEY)],
        }
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        self.shared.kept().objects.keys().cloned().collect()
    }

    /// Bytes that were sent with one request, at most.
    pub fn largest_request(&self) -> usize {
        self.shared.kept().largest
    }

    /// Parts that no object was made of. Azure forgets them by itself after a week.
    pub fn unfinished(&self) -> usize {
        let count = self.shared.kept().parts.len();
        if self.shared.service == Service::Azure { 0 } else { count }
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lets_in(&self, asked: &Asked) -> bool {
        let shown = asked.header("authorization");
        match self.service {
            Service::Google => shown == format!("Bearer {KEY}"),
            Service::Azure => shown == format!("SharedKey {ACCOUNT}:{}", asked.signature()),
        }
    }
}

impl Kept {
    fn put(&mut self, key: &str, bytes: Bytes) -> Response {
        self.last += 1;
        self.objects.insert(key.to_owned(), (bytes, self.last));
        (StatusCode::CREATED, [(header::ETAG, tag(self.last))]).into_response()
    }

    fn copy(&mut self, from: &str, to: &str) -> Response {
        let Some((bytes, _)) = self.objects.get(from) else { return StatusCode::NOT_FOUND.into_response() };
        let bytes = bytes.clone();
        self.put(to, bytes)
    }

    /// Makes an object of parts.
    fn join(&mut self, upload: &str, names: &[String], key: &str) -> Option<Response> {
        let parts = names.iter().map(|name| self.parts.remove(&(upload.to_owned(), name.clone())));
        let parts = parts.collect::<Option<Vec<_>>>()?;
        Some(self.put(key, parts.concat().into()))
    }

    fn get(&self, asked: &Asked) -> Response {
        let Some((bytes, number)) = self.objects.get(&asked.key) else { return StatusCode::NOT_FOUND.into_response() };
        let wanted = asked.header("if-match");
        if !wanted.is_empty() && wanted != tag(*number) {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        let head = [(header::ETAG, tag(*number)), (header::LAST_MODIFIED, WHEN.to_owned())];
        let range = asked.header("range").strip_prefix("bytes=").and_then(|range| range.split_once('-'));
        let Some((start, end)) = range else { return (head, bytes.clone()).into_response() };
        let start: usize = start.parse().expect("a range begins with a number");
        let end = end.parse().map_or(bytes.len(), |end: usize| bytes.len().min(end + 1));
        if start >= bytes.len() {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        let told = format!("bytes {start}-{}/{}", end - 1, bytes.len());
        (StatusCode::PARTIAL_CONTENT, head, [(header::CONTENT_RANGE, told)], bytes.slice(start..end)).into_response()
    }

    /// A page of keys, with sizes and tags, from `start` on; and where the next one begins.
    fn page(&self, prefix: &str, start: Bound<String>) -> (Vec<(&str, usize, String)>, Option<String>) {
        let mut of_prefix = self.objects.range((start, Bound::Unbounded)).filter(|(key, _)| key.starts_with(prefix));
        let page =
            of_prefix.by_ref().take(PAGE).map(|(key, (bytes, number))| (key.as_str(), bytes.len(), tag(*number)));
        let page = page.collect();
        (page, of_prefix.next().map(|(key, _)| key.clone()))
    }
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn word(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>
    fn signature(&self) -> String {
        let length = Some(self.header("content-length")).filter(|length| *length != "0").unwrap_or_default();
        let header = |name| self.header(name);
        let [encoding, language, md5, kind, date] =
            ["content-encoding", "content-language", "content-md5", "content-type", "date"].map(header);
        let conditions =
            ["if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"].map(header).join("\n");
        let mut own: Vec<_> = self.headers.keys().map(header::HeaderName::as_str).collect();
        own.retain(|name| name.starts_with("x-ms"));
        own.sort_unstable();
        let own: Vec<_> = own.into_iter().map(|name| format!("{name}:{}", self.header(name))).collect();
        let query = self.query.iter().map(|(name, value)| format!("{}:{value}", name.to_lowercase()));
        let resource = std::iter::once(format!("/{ACCOUNT}{}", self.uri.path())).chain(query).collect::<Vec<_>>();
        let text = format!(
            "{}\n{encoding}\n{language}\n{length}\n{md5}\n{kind}\n{date}\n{conditions}\n{}\n{}",
            self.method,
            own.join("\n"),
            resource.join("\n")
        );
        let key = BASE64.decode(KEY).expect("it is base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key will do");
        mac.update(text.as_bytes());
        BASE64.encode(mac.finalize().into_bytes())
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let url = Url::parse(&format!("http://storage{uri}")).expect("what was asked is a URL");
    let path: Vec<_> = url.path().trim_matches('/').splitn(2, '/').map(decoded).collect();
    let query = url.query_pairs().into_owned().collect();
    let key = path.get(1).cloned().unwrap_or_default();
    let asked = Asked { method, uri, headers, body, key, query };
    if !shared.lets_in(&asked) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if path[0] != BUCKET {
        return StatusCode::NOT_FOUND.into_response();
    }
    let mut kept = shared.kept();
    kept.largest = kept.largest.max(asked.body.len());
    match shared.service {
        Service::Azure => azure(&mut kept, &asked),
        Service::Google => google(&mut kept, &asked),
    }
    .unwrap_or_else(|| (StatusCode::BAD_REQUEST, format!("{} {}", asked.method, asked.uri)).into_response())
}

/// <https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api>; none: it is nothing that is known here.
fn azure(kept: &mut Kept, asked: &Asked) -> Option<Response> {
    match (asked.method.as_str(), asked.word("comp")) {
        ("GET" | "HEAD", None) => Some(kept.get(asked)),
        ("PUT", None) => {
            let from = asked.header("x-ms-copy-source");
            if from.is_empty() {
                return (asked.header("x-ms-blob-type") == "BlockBlob")
                    .then(|| kept.put(&asked.key, asked.body.clone()));
            }
            let from = Url::parse(from).ok()?;
            let from = decoded(from.path().strip_prefix(&format!("/{BUCKET}/"))?);
            Some(kept.copy(&from, &asked.key))
        }
        ("PUT", Some("block")) => {
            let name = asked.word("blockid")?.to_owned();
            kept.parts.insert((asked.key.clone(), name), asked.body.clone());
            Some(StatusCode::CREATED.into_response())
        }
        ("PUT", Some("blocklist")) => {
            let list = String::from_utf8_lossy(&asked.body).into_owned();
            kept.join(&asked.key, &between(&list, "<Uncommitted>", "</Uncommitted>"), &asked.key)
        }
        ("GET", Some("list")) => {
            let start = asked.word("marker").or(asked.word("startFrom")).unwrap_or_default();
            let (page, next) = kept.page(asked.word("prefix").unwrap_or_default(), Bound::Included(start.to_owned()));
            let blob = |(key, size, tag): (&str, usize, String)| {
                format!(
                    "<Blob><Name>{key}</Name><Properties><Last-Modified>{WHEN}</Last-Modified><Etag>{}</Etag>\
                     <Content-Length>{size}</Content-Length><Content-Type>application/octet-stream</Content-Type></Properties></Blob>",
                    escaped(&tag)
                )
            };
            let blobs: String = page.into_iter().map(blob).collect();
            let next = next.unwrap_or_default();
            let text = format!("<Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker>");
            Some(format!("<?xml version=\"1.0\"?><EnumerationResults>{text}</EnumerationResults>").into_response())
        }
        ("POST", Some("batch")) => {
            let text = String::from_utf8_lossy(&asked.body).into_owned();
            let mut parts = Vec::new();
            for (at, path) in between(&text, &format!("DELETE /{BUCKET}/"), " HTTP/1.1").iter().enumerate() {
                let path = decoded(path.split('?').next()?);
                let status = if kept.objects.remove(&path).is_some() { "202 Accepted" } else { "404 NotFound" };
                parts.push(format!(
                    "--answers\r\nContent-Type: application/http\r\nContent-ID: {at}\r\n\r\nHTTP/1.1 {status}\r\n\
                     x-ms-version: 2023-11-03\r\n\r\n\r\n"
                ));
            }
            let kind = [(header::CONTENT_TYPE, "multipart/mixed; boundary=answers")];
            Some((StatusCode::ACCEPTED, kind, parts.concat() + "--answers--\r\n").into_response())
        }
        _ => None,
    }
}

/// <https://cloud.google.com/storage/docs/xml-api/overview>; none: it is nothing that is known here.
fn google(kept: &mut Kept, asked: &Asked) -> Option<Response> {
    let upload = asked.word("uploadId");
    let xml = |name: &str, text: String| format!("<?xml version=\"1.0\"?><{name}>{text}</{name}>").into_response();
    match asked.method.as_str() {
        "GET" if asked.key.is_empty() => {
            let start = match (asked.word("continuation-token"), asked.word("start-after")) {
                (Some(next), _) => Bound::Included(next.to_owned()),
                (None, Some(after)) => Bound::Excluded(after.to_owned()),
                (None, None) => Bound::Unbounded,
            };
            let (page, next) = kept.page(asked.word("prefix").unwrap_or_default(), start);
            let object = |(key, size, tag): (&str, usize, String)| {
                let tag = escaped(&tag);
                format!(
                    "<Contents><Key>{key}</Key><LastModified>{WHEN_XML}</LastModified><ETag>{tag}</ETag><Size>{size}</Size></Contents>"
                )
            };
            let objects: String = page.into_iter().map(object).collect();
            let next = next.map(|next| format!("<NextContinuationToken>{next}</NextContinuationToken>"));
            Some(xml("ListBucketResult", objects + next.as_deref().unwrap_or_default()))
        }
        "GET" | "HEAD" => Some(kept.get(asked)),
        "DELETE" if upload.is_some() => {
            kept.parts.retain(|(of, _), _| Some(of.as_str()) != upload);
            Some(StatusCode::NO_CONTENT.into_response())
        }
        "DELETE" => {
            let was_there = kept.objects.remove(&asked.key).is_some();
            Some(if was_there { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }.into_response())
        }
        "PUT" if upload.is_some() => {
            kept.last += 1;
            kept.parts.insert((upload?.to_owned(), asked.word("partNumber")?.to_owned()), asked.body.clone());
            Some([(header::ETAG, tag(kept.last))].into_response())
        }
        "PUT" => {
            let from = asked.header("x-goog-copy-source");
            if from.is_empty() {
                return Some(kept.put(&asked.key, asked.body.clone()));
            }
            let from = decoded(from.strip_prefix(&format!("{BUCKET}/"))?);
            Some(kept.copy(&from, &asked.key))
        }
        "POST" if asked.word("uploads").is_some() => {
            kept.last += 1;
            Some(xml("InitiateMultipartUploadResult", format!("<UploadId>upload-{}</UploadId>", kept.last)))
        }
        "POST" => {
            let list = String::from_utf8_lossy(&asked.body).into_owned();
            kept.join(upload?, &between(&list, "<PartNumber>", "</PartNumber>"), &asked.key)?;
            Some(xml("CompleteMultipartUploadResult", format!("<ETag>{}</ETag>", escaped(&tag(kept.last)))))
        }
        _ => None,
    }
}

fn tag(number: u64) -> String {
    format!("\"{number}\"")
}

fn escaped(text: &str) -> String {
    text.replace('"', "&quot;")
}

/// All that stands between `before` and `after`.
fn between(text: &str, before: &str, after: &str) -> Vec<String> {
    text.split(before).skip(1).filter_map(|rest| Some(rest.split_once(after)?.0.to_owned())).collect()
}

/// Without percent encoding.
fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}
