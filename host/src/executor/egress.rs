//! The one way from a task to the network: HTTP to granted hosts at public addresses.
//!
//! A request is checked by the parsed URL that is also connected to; names are resolved here, and every address that a name
//! has must be allowed, each time a connection is made (so that a name can't be rebound). No proxy, no redirect, no cookie,
//! no decompression. Connections are shared between attempts: who may use one is decided per request, by the grants.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, Method, Request, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, HeaderName, HeaderValue},
};
use tokio::sync::Semaphore;

use super::{Shared, attempt::Granted, books::Attempt, calls::settings};
use crate::{
    connections::{Endpoint, EndpointError},
    model::ids::ConnectionId,
    wire::CallError,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Names that are looked up at a time: each takes a thread while it lasts.
const MAX_LOOKUPS: usize = 32;
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

/// Whose word a host is.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// A task's: public addresses.
    Public,
    /// An operator's: all but those where machines keep their credentials.
    Private,
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
    pub fn new(allow_private: bool) -> Result<Self, reqwest::Error> {
        // Answers with an error if one is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let lookups = Arc::new(Semaphore::new(MAX_LOOKUPS));
        let client = |reach| {
            Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(16)
                .pool_idle_timeout(Duration::from_secs(30))
                .dns_resolver(Arc::new(Resolver { reach, lookups: Arc::clone(&lookups) }))
                .build()
        };
        let of_tasks = if allow_private { Reach::Private } else { Reach::Public };
        Ok(Self { client: client(of_tasks)?, by_connection: client(Reach::Private)?, allow_private })
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
        let (client, host, request) = match destination {
            Destination::Host(url) => {
                let host = url.host_str().unwrap_or_default().to_owned();
                (&self.client, host, self.client.request(method, url).headers(headers).body(request.body).build())
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
                settings::hide_all(attempt, got.into_iter().collect())?;
                (client, url.host_str().unwrap_or_default().to_owned(), Ok(own))
            }
        };
        exchange(client, request, &host, timeout).await
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
        // As the grants write it: an IPv6 address without brackets.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port().unwrap_or(default_port);
        let grant = || if port == default_port { format!("http:{name}") } else { format!("http:{name}:{port}") };
        granted.find(|grants| grants.allows_host(name, port, default_port).then_some(()), grant)?;
        if let Ok(address) = name.parse::<IpAddr>()
            && let Some(why) = self.refuses(address)
        {
            return Err(CallError::Denied(AddressRefused { host: name.to_owned(), address, why }.to_string()));
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

/// Looks names up with the system's resolver and lets a name pass only if all of its addresses may be connected to.
struct Resolver {
    reach: Reach,
    lookups: Arc<Semaphore>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach;
        let lookups = Arc::clone(&self.lookups);
        Box::pin(async move {
            let _permit = lookups.acquire_owned().await?;
            let lookup = tokio::net::lookup_host((name.as_str(), 0));
            let found: Vec<SocketAddr> = tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await??.collect();
            for address in found.iter().map(SocketAddr::ip) {
                if let Some(why) = reach.refuses(address) {
                    return Err(AddressRefused { host: name.as_str().to_owned(), address, why }.into());
                }
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A host has an address that tasks may not connect to.
#[derive(Debug)]
struct AddressRefused {
    host: String,
    address: IpAddr,
    why: &'static str,
}

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address, why } = self;
        write!(f, "`{host}` has the address {address}, which is {why}; tasks may reach public addresses only")
    }
}

impl Error for AddressRefused {}

/// Our own refusal, if that is what lies at the ground of `error`.
fn refusal(error: &reqwest::Error) -> Option<CallError> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref::<AddressRefused>() {
            return Some(CallError::Denied(refused.to_string()));
        }
        source = error.source();
    }
    None
}

/// The peer's or the network's fault, with the innermost reason, without the URL: its query may hold secrets.
pub(super) fn unavailable(host: &str, error: reqwest::Error) -> CallError {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        reason = error.to_string();
        source = error.source();
    }
    CallError::Unavailable(format!("`{host}` could not be reached: {reason}"))
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

impl Reach {
    fn refuses(self, address: IpAddr) -> Option<&'static str> {
        let why = why_refused(address);
        match self {
            Self::Public => why,
            Self::Private => why.filter(|why| METADATA.contains(why)),
        }
    }
}

/// Where machines in clouds find their credentials: nobody's word opens these.
const METADATA: [&str; 2] = ["link-local", "a cloud's metadata service"];

/// Why an operator's host is refused, if it is an address itself: no name is looked up then.
fn refused_literally(host: &str) -> Option<&'static str> {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Reach::Private.refuses(address)
}

fn by_connection(error: EndpointError) -> CallError {
    match error {
        EndpointError::Wrong(why) => CallError::Invalid(why),
        EndpointError::Unavailable(why) => CallError::Unavailable(why),
    }
}

/// Why no task may connect to `address`; none if it is a public one.
fn why_refused(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => why_refused_v4(v4),
        IpAddr::V6(v6) => why_refused_v6(v6),
    }
}

/// IANA IPv4 special-purpose address registry, and the addresses where clouds keep credentials.
fn why_refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    let why = match address.octets() {
        [0, ..] => "of this network",
        [127, ..] => "loopback",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "shared (carrier-grade NAT)",
        [169, 254, ..] => "link-local",
        [168, 63, 129, 16] => "a cloud's metadata service",
        [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [240..=255, ..] => "reserved",
        [224..=239, ..] => "multicast",
        _ => return None,
    };
    Some(why)
}

/// Global unicast only; an address that carries an IPv4 address is judged by that.
fn why_refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(v4) = address.to_ipv4_mapped() {
        return why_refused_v4(v4);
    }
    let segments = address.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    let why = match segments {
        // NAT64, RFC 6052
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => return why_refused_v4(inner(high, low)),
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0xfc00..=0xfdff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2002, ..] => "a 6to4 tunnel",
        [0x2001, 0, ..] => "a Teredo tunnel",
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "reserved",
        [0x2000..=0x3fff, ..] => return None,
        _ => "not a public address",
    };
    Some(why)
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
    fn only_public_addresses_may_be_reached() {
        for inside in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "10.0.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.100.100.200",
            "169.254.169.254",
            "168.63.129.16",
            "192.0.0.170",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:a9fe:a9fe::",
            "2001:0:1::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(why_refused(inside.parse().unwrap()).is_some(), "{inside}");
        }
        // Nor may connections lead to where machines keep their credentials.
        for (address, refused) in
            [("169.254.169.254", true), ("168.63.129.16", true), ("fe80::1", true), ("10.0.0.1", false)]
        {
            assert_eq!(Reach::Private.refuses(address.parse().unwrap()).is_some(), refused, "{address}");
        }
        for outside in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]
        {
            assert_eq!(why_refused(outside.parse().unwrap()), None, "{outside}");
        }
    }

    #[test]
    fn a_url_is_judged_by_the_host_that_would_be_connected_to() {
        let egress = Egress::new(false).unwrap();
        let granted = grants(&["api.example.org", "127.0.0.1", "2130706433", "0x7f.1", "localhost:8080"]);
        let asked = grants(&["waiting.org:8443"]);
        let dag_id = DagId::new("d").unwrap();
        let ask = |uri: &str| egress.permit(Granted { grants: &granted, asked: &asked, dag_id: &dag_id }, uri);
        assert!(ask("https://api.example.org/x?y").is_ok());
        assert!(ask("https://API.Example.org").is_ok());
        assert!(ask("http://localhost:8080/").is_ok());
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
        let egress = Egress::new(false).unwrap();
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
        let egress = Egress::new(true).unwrap();
        let error = get(&egress, &format!("http://127.0.0.1:{port}/?token=hush")).await.unwrap_err();
        assert!(matches!(&error, CallError::Unavailable(why) if !why.contains("hush")), "{error:?}");
    }
}
