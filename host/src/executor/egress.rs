//! The one way from a task to the network: HTTP to granted hosts at public addresses.
//!
//! A request is checked by the parsed URL that is also connected to; names are resolved here, and every address that a name
//! has must be allowed, each time a connection is made (so that a name can't be rebound). No proxy, no redirect, no cookie,
//! no decompression. Connections are shared between attempts: who may use one is decided per request, by the grants.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{Shared, attempt::Granted, books::Attempt, calls::settings};
use crate::{
    connections::{AddressRefused, Endpoint, EndpointError, Lookups, Reach, Resolver, refused_literally},
    model::{
        causes::{causes, innermost},
        ids::ConnectionId,
    },
    wire::CallError,
};
use reqwest::{
    Client, Method, Request, Response, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request to the head of its response.
const MAX_HEAD_TIMEOUT: Duration = Duration::from_mins(10);
const DEFAULT_HEAD_TIMEOUT: Duration = Duration::from_mins(1);
const MAX_REQUEST_HEADERS: usize = 200;
const MAX_REQUEST_BODY_BYTES: usize = 16 << 20;

/// A host under this name stands for a connection, whose secrets the host adds.
const CONNECTION_SUFFIX: &str = ".connection.internal";

/// W3C Trace Context: the span that a request is of.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What belongs to the connection rather than to the request: the client's business, never a task's.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One request of a task, as it asked for it.
#[derive(Debug)]
pub(super) struct HttpRequest {
    pub method: String,
    pub uri: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub timeout_ms: Option<u64>,
}

/// The clients that all attempts share.
#[derive(Debug, Clone)]
pub(super) struct Egress {
    /// To hosts that dags name.
    client: Client,
    /// To hosts that connections name: an operator wrote them, and they may be private.
    by_connection: Client,
    allow_private: bool,
}

/// Where a request goes.
#[derive(Debug)]
enum Destination {
    Host(Url),
    /// A connection, and the URL as the task wrote it.
    Connection(ConnectionId, Url),
}

impl Egress {
    /// # Errors
    /// If the system's certificates can't be used.
    pub fn new(allow_private: bool, lookups: &Lookups) -> Result<Self, reqwest::Error> {
        // Answers with an error if one is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |reach| {
            Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(16)
                .pool_idle_timeout(Duration::from_secs(30))
                .dns_resolver(Arc::new(Resolver { reach, lookups: lookups.clone() }))
                .build()
        };
        let of_tasks = if allow_private { Reach::Private } else { Reach::Public };
        Ok(Self { client: client(of_tasks)?, by_connection: client(Reach::Private)?, allow_private })
    }

    /// The client to hosts that connections name.
    pub fn by_connection(&self) -> &Client {
        &self.by_connection
    }

    /// Sends `request` if the attempt's grants allow it; answers when the head of the response is there.
    pub async fn send(&self, shared: &Shared, attempt: &Attempt, request: HttpRequest) -> Result<Response, CallError> {
        let destination = self.permit(attempt.assignment.granted(), &request.uri)?;
        let method = match Method::from_bytes(request.method.as_bytes()) {
            Ok(method) if method != Method::CONNECT && method != Method::TRACE => method,
            _ => return Err(CallError::Invalid(format!("method `{}` can't be used", shorten(&request.method)))),
        };
        if request.body.len() > MAX_REQUEST_BODY_BYTES {
            return Err(CallError::TooLarge(format!(
                "a request body of {} bytes is above the limit of {MAX_REQUEST_BODY_BYTES}",
                request.body.len()
            )));
        }
        let mut headers = own_headers(request.headers)?;
        if !headers.contains_key(TRACEPARENT)
            && let Some(span) = shared.traceparent(attempt.id())
            && let Ok(span) = HeaderValue::try_from(span)
        {
            headers.insert(TRACEPARENT, span);
        }
        let timeout = request.timeout_ms.map_or(DEFAULT_HEAD_TIMEOUT, Duration::from_millis).min(MAX_HEAD_TIMEOUT);
        let (client, host, request, token) = match destination {
            Destination::Host(url) => {
                let host = url.host_str().unwrap_or_default().to_owned();
                let own = self.client.request(method, url).headers(headers).body(request.body).build();
                (&self.client, host, own, None)
            }
            Destination::Connection(id, url) => {
                let connection = settings::open(shared, &id).await?;
                settings::hide_all(attempt, connection.secrets())?;
                let endpoint = Endpoint::of(&connection).map_err(by_connection)?;
                if let Some(why) = endpoint.base().host_str().and_then(refused_literally) {
                    return Err(CallError::Denied(format!("connection `{id}` can't be used: its host is {why}")));
                }
                let client = &self.by_connection;
                let own = client.request(method, endpoint.url(url.path(), url.query())).headers(headers);
                let mut own = own.body(request.body).build().map_err(|error| unavailable(id.as_str(), error))?;
                let got = endpoint.authorize(&shared.connections, client, &mut own).await.map_err(by_connection)?;
                settings::hide_all(attempt, got.iter().cloned().collect())?;
                (client, url.host_str().unwrap_or_default().to_owned(), Ok(own), got)
            }
        };
        let response = exchange(client, request, &host, timeout).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(token) = &token
        {
            shared.connections.forget(token);
        }
        Ok(response)
    }

    /// Where `uri` leads, if it may be asked for.
    fn permit(&self, granted: Granted<'_>, uri: &str) -> Result<Destination, CallError> {
        let url = Url::parse(uri)
            .map_err(|error| CallError::Invalid(format!("`{}` is not an absolute URL: {error}", shorten(uri))))?;
        let default_port = match url.scheme() {
            "http" => 80,
            "https" => 443,
            other => {
                return Err(CallError::Invalid(format!(
                    "scheme `{}` can't be used; use http or https",
                    shorten(other)
                )));
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(CallError::Invalid(
                "a URL may not carry a user or password; send an `authorization` header".into(),
            ));
        }
        let Some(host) = url.host_str() else {
            return Err(CallError::Invalid(format!("`{}` names no host", shorten(uri))));
        };
        if let Some(id) = host.strip_suffix(CONNECTION_SUFFIX) {
            let connection = granted.find(|grants| grants.connection_of_host(id), || format!("connection:{id}"))?;
            if url.port().is_some() {
                return Err(CallError::Invalid(format!("`{host}` takes no port; the connection has one")));
            }
            return Ok(Destination::Connection(connection.clone(), url));
        }
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        // As the grants write it.
        let name = match address {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => host.to_owned(),
        };
        let port = url.port().unwrap_or(default_port);
        let grant = || if port == default_port { format!("http:{name}") } else { format!("http:{name}:{port}") };
        granted.find(|grants| grants.allows_host(&name, port, default_port).then_some(()), grant)?;
        if let Some(address) = address
            && let Some(why) = self.refuses(address)
        {
            return Err(CallError::Denied(AddressRefused { host: name, address, why }.to_string()));
        }
        Ok(Destination::Host(url))
    }

    fn refuses(&self, address: IpAddr) -> Option<&'static str> {
        let reach = if self.allow_private { Reach::Private } else { Reach::Public };
        reach.refuses(address)
    }
}

/// Answers when the head of the response is there.
async fn exchange(
    client: &Client,
    request: reqwest::Result<Request>,
    host: &str,
    timeout: Duration,
) -> Result<Response, CallError> {
    let request = request.map_err(|error| unavailable(host, error))?;
    match tokio::time::timeout(timeout, client.execute(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(refusal(&error).unwrap_or_else(|| unavailable(host, error))),
        Err(_) => Err(CallError::Unavailable(format!("`{host}` did not answer within {} ms", timeout.as_millis()))),
    }
}

fn own_headers(headers: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, CallError> {
    if headers.len() > MAX_REQUEST_HEADERS {
        return Err(CallError::TooLarge(format!(
            "{} headers are above the limit of {MAX_REQUEST_HEADERS}",
            headers.len()
        )));
    }
    let mut own = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let wrong = || CallError::Invalid(format!("header `{}` can't be sent", shorten(&name)));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(&value).map_err(|_| wrong())?;
        if !HOP_BY_HOP.contains(&header.as_str()) {
            own.append(header, value);
        }
    }
    Ok(own)
}

/// Our own refusal, if that is what lies at the ground of `error`.
fn refusal(error: &reqwest::Error) -> Option<CallError> {
    let refused = causes(error).find_map(|cause| cause.downcast_ref::<AddressRefused>())?;
    Some(CallError::Denied(refused.to_string()))
}

/// The peer's or the network's fault, with the innermost reason, without the URL: its query may hold secrets.
pub(super) fn unavailable(host: &str, error: reqwest::Error) -> CallError {
    let error = error.without_url();
    let reason = wrong_certificate(&error).unwrap_or_else(|| innermost(&error));
    CallError::Unavailable(format!("`{host}` could not be reached: {reason}"))
}

/// What is wrong with the peer's certificate, if that is why it was not spoken to.
pub(super) fn wrong_certificate(error: &reqwest::Error) -> Option<String> {
    // In the words of rustls.
    let mut reason = innermost(error);
    if !reason.starts_with("invalid peer certificate") {
        return None;
    }
    if reason.ends_with("UnknownIssuer") {
        reason.push_str(
            "; the server trusts the system's authorities, or those in the file that its variable SSL_CERT_FILE names",
        );
    }
    Some(reason)
}

/// As much of a text of others as a message shows.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

fn by_connection(error: EndpointError) -> CallError {
    match error {
        EndpointError::Wrong(why) => CallError::Invalid(why),
        EndpointError::Unavailable(why) => CallError::Unavailable(why),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{grants::Grants, ids::DagId, spec::GrantsSpec};

    use super::*;

    fn grants(hosts: &[&str]) -> Grants {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Grants::from_spec(&GrantsSpec { hosts, ..GrantsSpec::default() }).unwrap()
    }

    #[test]
    fn a_url_is_judged_by_the_host_that_would_be_connected_to() {
        let egress = Egress::new(false, &Lookups::default()).unwrap();
        let granted = grants(&[
            "api.example.org",
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "localhost:8080",
            "[2606:4700:0::1111]:8443",
            "[::ffff:127.0.0.1]",
            "[fe80::1]:*",
        ]);
        let asked = grants(&["waiting.org:8443"]);
        let dag_id = DagId::new("d").unwrap();
        let ask = |uri: &str| egress.permit(Granted { grants: &granted, asked: &asked, dag_id: &dag_id }, uri);
        assert!(ask("https://api.example.org/x?y").is_ok());
        assert!(ask("https://API.Example.org").is_ok());
        assert!(ask("http://localhost:8080/").is_ok());
        assert!(ask("https://[2606:4700::1111]:8443/").is_ok());
        for denied in [
            "https://evil.example.org",
            "https://api.example.org.evil.tld",
            "https://api.example.org:22/",
            "http://localhost/",
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://127.0.0.1#api.example.org",
            "http://[::ffff:127.0.0.1]/",
            "https://[2606:4700::1111]/",
            "https://[fe80::1]:8443/",
            "https://api.example.org./",
            "http://db.connection.internal/x",
        ] {
            assert!(matches!(ask(denied), Err(CallError::Denied(_))), "{denied}: {:?}", ask(denied));
        }
        for invalid in [
            "http://api.example.org@127.0.0.1/",
            "https://user:secret@api.example.org/",
            "file:///etc/passwd",
            "gopher://api.example.org/",
            "/relative",
            "http://api.example.org:70000/",
            "http://api.example.org%00.evil/",
        ] {
            assert!(matches!(ask(invalid), Err(CallError::Invalid(_))), "{invalid}: {:?}", ask(invalid));
        }
        assert_eq!(
            ask("https://other.org:8443/").unwrap_err(),
            CallError::Denied("grant `http:other.org:8443` is missing in the dag".into())
        );
        assert_eq!(
            ask("https://[2606:4700:0::1112]/").unwrap_err(),
            CallError::Denied("grant `http:[2606:4700::1112]` is missing in the dag".into())
        );
        let mapped = ask("http://[::ffff:7f00:1]/");
        assert!(matches!(&mapped, Err(CallError::Denied(why)) if why.contains("loopback")), "{mapped:?}");
        assert_eq!(
            ask("https://waiting.org:8443/").unwrap_err(),
            CallError::Denied(
                "grant `http:waiting.org:8443` waits for an admin to approve it (`airlock grants list d`)".into()
            )
        );
    }

    async fn get(egress: &Egress, uri: &str) -> Result<Response, CallError> {
        let url = Url::parse(uri).unwrap();
        let host = url.host_str().unwrap().to_owned();
        exchange(&egress.client, egress.client.get(url).build(), &host, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn a_granted_name_with_a_private_address_is_refused_before_a_packet_is_sent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let egress = Egress::new(false, &Lookups::default()).unwrap();
        let refused = get(&egress, &format!("http://localhost:{port}/")).await.unwrap_err();
        assert!(matches!(&refused, CallError::Denied(why) if why.contains("loopback")), "{refused:?}");
        let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(accepted.is_err(), "a connection was made");
    }

    #[tokio::test]
    async fn a_peer_that_is_not_there_is_unavailable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let egress = Egress::new(true, &Lookups::default()).unwrap();
        let error = get(&egress, &format!("http://127.0.0.1:{port}/?token=hush")).await.unwrap_err();
        assert!(matches!(&error, CallError::Unavailable(why) if !why.contains("hush")), "{error:?}");
    }
}
