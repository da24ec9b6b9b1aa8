//! HTTP to the hosts and connections that a dag was granted.
//!
//! `#[dag(hosts = ["api.example.org"])]` grants a host. With `#[dag(connections = ["shop"])]`, requests to
//! `http://shop.connection.internal/` go to the host of connection `shop`, with its credentials added by the server: the task
//! never holds them.
//!
//! ```
//! # use airlock_sdk::prelude::*;
//! #[data]
//! struct Order {
//!     id: u32,
//! }
//!
//! #[task(retries = 3)]
//! fn orders(day: &str) -> Result<Vec<Order>> {
//!     let request = http::get("http://shop.connection.internal/v1/orders").query("day", day);
//!     Ok(request.send()?.json()?)
//! }
//!
//! let host = airlock_sdk::testing::Host::new().http(
//!     "GET",
//!     "http://shop.connection.internal/v1/orders?day=2026-01-31",
//!     http::Answer::json(&[Order { id: 7 }]),
//! );
//! assert_eq!(host.run(|_| orders::run("2026-01-31")).unwrap()[0].id, 7);
//! ```
//!
//! What `wasi:http` clients of other crates send takes the same way.

use std::{
    fmt,
    io::{self, Read},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{HostError, Result},
    host,
    value::from_json,
};

/// How much of a refusal's body its error shows.
const EXCERPT_BYTES: u64 = 1_000;

/// A request, to be completed and sent.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Option<Duration>,
    any_status: bool,
}

/// A GET of `url`.
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// A POST to `url`.
pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

/// A PUT to `url`.
pub fn put(url: impl Into<String>) -> Request {
    request("PUT", url)
}

/// A PATCH of `url`.
pub fn patch(url: impl Into<String>) -> Request {
    request("PATCH", url)
}

/// A DELETE of `url`.
pub fn delete(url: impl Into<String>) -> Request {
    request("DELETE", url)
}

/// A request of any method.
pub fn request(method: impl Into<String>, url: impl Into<String>) -> Request {
    Request {
        method: method.into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: None,
        any_status: false,
    }
}

impl Request {
    /// Adds `name=value` to the URL's query, encoded.
    pub fn query(mut self, name: &str, value: impl fmt::Display) -> Self {
        let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, &value.to_string()).finish();
        let fragment = self.url.find('#').map(|at| self.url.split_off(at));
        self.url.push(if self.url.contains('?') { '&' } else { '?' });
        self.url.push_str(&pair);
        self.url.extend(fragment);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends `content`, at most 16 MiB.
    pub fn body(mut self, media_type: &str, content: impl Into<Vec<u8>>) -> Self {
        self.body = content.into();
        self.header("content-type", media_type)
    }

    /// Sends `value` as JSON.
    ///
    /// # Errors
    /// If it can't be JSON.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self> {
        Ok(self.body("application/json", serde_json::to_vec(value)?))
    }

    /// Sends pairs as a form.
    pub fn form<'a>(self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.body("application/x-www-form-urlencoded", form)
    }

    /// How long the head of the response may take: a minute if nothing is said, at most ten.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Takes a response of any status for an answer, not only those below 400.
    pub fn any_status(mut self) -> Self {
        self.any_status = true;
        self
    }

    /// Sends the request and waits for the head of the response. Redirects are answers: nothing follows them.
    ///
    /// # Errors
    /// [`HostError::Denied`] without the grant, [`HostError::Unavailable`] if nobody answers, [`StatusError`] for a status of
    /// 400 and above.
    pub fn send(mut self) -> Result<Response> {
        self.url = encoded(&self.url);
        let any_status = self.any_status;
        // The query may hold what no log should.
        let about = format!("{} {}", self.method, self.url.split(['?', '#']).next().unwrap_or_default());
        for (name, value) in &self.headers {
            if let Some(why) = header_fault(name, value) {
                return Err(HostError::Invalid(format!("header `{name}` can't be sent by {about}: {why}")).into());
            }
        }
        let (status, headers, body) = host::http_send(self)?;
        let response = Response { status, headers, body };
        if any_status || status < 400 {
            return Ok(response);
        }
        let retry_after = response.header("retry-after").filter(|_| matches!(status, 429 | 503)).and_then(asked_wait);
        let mut excerpt = Vec::new();
        // What can't be read of a refusal is left out of it.
        drop(response.body.take(EXCERPT_BYTES).read_to_end(&mut excerpt));
        let excerpt = String::from_utf8_lossy(&excerpt).trim().to_owned();
        Err(StatusError { about, status, excerpt, retry_after }.into())
    }
}

/// Headers that are the server's to set.
const SERVERS_HEADERS: [&str; 9] = [
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Why a header can't be sent (RFC 9110, 5.1 and 5.5), if it can't.
fn header_fault(name: &str, value: &str) -> Option<&'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Some("it is no name of a header");
    }
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Some("its value has a control character");
    }
    let is_servers = SERVERS_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known));
    is_servers.then_some("it is the server's to set")
}

/// An answer whose status says that it is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusError {
    about: String,
    /// 400 to 599
    pub status: u16,
    /// The beginning of the body.
    pub excerpt: String,
    /// What a 429 or 503 asked for (`Retry-After`): 1 second to a day. The next try of the task starts then.
    pub retry_after: Option<Duration>,
}

/// What a `Retry-After` says: seconds, or an instant (RFC 9110, 10.2.3). Whoever asks for more than a day has waited for a day.
fn asked_wait(text: &str) -> Option<Duration> {
    let text = text.trim();
    let seconds = if let Ok(seconds) = text.parse::<u64>() {
        seconds
    } else {
        let at = DateTime::parse_from_rfc2822(text).ok()?;
        #[expect(clippy::disallowed_methods, reason = "tasks have no clock but WASI's")]
        let now = Utc::now();
        // Of an instant that has passed nothing is left.
        u64::try_from(at.signed_duration_since(now).num_seconds()).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds.clamp(1, 86_400)))
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was answered with HTTP {}", self.about, self.status)?;
        if self.excerpt.is_empty() { Ok(()) } else { write!(f, ": {}", self.excerpt) }
    }
}

impl std::error::Error for StatusError {}

/// A response; its body is read as it comes, as by [`Read`].
pub struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: host::Incoming,
}

impl Response {
    /// As 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first header `name`, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All headers.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The whole body, at most 256 MiB.
    ///
    /// # Errors
    /// If it ends before its end, or is longer.
    pub fn bytes(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The whole body as text.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and if it is not UTF-8.
    pub fn text(self) -> Result<String> {
        Ok(String::from_utf8(self.bytes()?)?)
    }

    /// The whole body, which is JSON.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and if it is not JSON of a `T`.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        let text = self.text()?;
        from_json(&text, || "the response".to_owned())
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

/// What a native test's host answers to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As 200.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// `value` as JSON, with status 200.
    ///
    /// # Panics
    /// If it can't be JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        let body = serde_json::to_vec(value).expect("a test's answer is JSON");
        Self { status: 200, headers: vec![("content-type".into(), "application/json".into())], body }
    }

    /// A status with a text.
    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }
}

/// No more than the head of a URL: what the host needs apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub is_https: bool,
    pub authority: &'a str,
    pub path_with_query: &'a str,
}

/// What no URI may hold as it is (RFC 3986), as bytes in percent signs; what is encoded already stays.
fn encoded(url: &str) -> String {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let mut encoded = String::with_capacity(url.len());
    for byte in url.bytes() {
        if byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    encoded
}

/// # Errors
/// If it is no absolute http or https URL.
pub(crate) fn split(url: &str) -> Result<Parts<'_>, HostError> {
    let wrong = || HostError::Invalid(format!("`{url}` is no absolute http or https URL"));
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let is_https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(wrong()),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path_with_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err(wrong());
    }
    Ok(Parts { is_https, authority, path_with_query })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    #[test]
    fn a_url_is_taken_apart_where_its_parts_end() {
        let parts = |url| {
            split(url).map(|Parts { is_https, authority, path_with_query }| (is_https, authority, path_with_query))
        };
        assert_eq!(parts("https://a.org/x/y?z=/1#top"), Ok((true, "a.org", "/x/y?z=/1")));
        assert_eq!(parts("HTTP://a.org:8080"), Ok((false, "a.org:8080", "")));
        assert_eq!(parts("http://a.org?q"), Ok((false, "a.org", "?q")));
        for wrong in ["a.org/x", "ftp://a.org", "https:///x", "https://#x", ""] {
            assert!(matches!(split(wrong), Err(HostError::Invalid(_))), "{wrong}");
        }
    }

    #[test]
    fn what_a_uri_can_not_hold_is_encoded_once() {
        assert_eq!(encoded("/a b/ä?q={\"x\"}&y=%20+"), "/a%20b/%C3%A4?q=%7B%22x%22%7D&y=%20+");
    }

    #[test]
    fn a_query_is_encoded_and_stands_before_the_fragment() {
        let request = get("https://a.org/x#top").query("q", "a b&c").query("n", 2);
        assert_eq!(request.url, "https://a.org/x?q=a+b%26c&n=2#top");
    }

    #[test]
    fn a_refusal_is_an_error_that_tells_no_query() {
        let url = "https://a.org/x?token=hush";
        let host = Host::new()
            .http("GET", url, Answer::status(503, "busy"))
            .http("GET", url, Answer::status(404, ""))
            .http("GET", url, Answer::status(200, "fine"));
        let sent = || get(url).send().map(|response| response.status()).map_err(|error| error.to_string());
        assert_eq!(host.run(|_| sent()), Err("GET https://a.org/x was answered with HTTP 503: busy".to_owned()));
        assert_eq!(host.run(|_| get(url).any_status().send().unwrap().status()), 404);
        assert_eq!(host.run(|_| get(url).send().unwrap().text().unwrap()), "fine");
        assert!(host.run(|_| post(url).send().unwrap_err().to_string().contains("Host::http")));
        assert_eq!(host.http_requests().len(), 3);
    }

    #[test]
    fn a_header_that_can_not_be_sent_is_named() {
        let url = "https://a.org/x?token=hush";
        let host = Host::new().http("GET", url, Answer::status(200, ""));
        let told = |name, value| host.run(|_| get(url).header(name, value).send().unwrap_err().to_string());
        let by = "can't be sent by GET https://a.org/x";
        assert_eq!(told("Host", "b.org"), format!("invalid: header `Host` {by}: it is the server's to set"));
        assert_eq!(told("a b", "1"), format!("invalid: header `a b` {by}: it is no name of a header"));
        assert_eq!(told("a", "b\r\nc: d"), format!("invalid: header `a` {by}: its value has a control character"));
        assert!(host.run(|_| get(url).header("x-a", "ä\tb").send().is_ok()));
    }

    #[test]
    fn a_refusal_says_when_to_come_again() {
        let refusal = |status: u16, said: &str| {
            let headers = vec![("Retry-After".to_owned(), said.to_owned())];
            let host = Host::new().http("GET", "https://a.org/", Answer { headers, ..Answer::status(status, "") });
            let error = host.run(|_| get("https://a.org/").send().unwrap_err());
            error.context("outer").retry_after().map(|wait| wait.as_secs())
        };
        assert_eq!(refusal(429, "120"), Some(120));
        assert_eq!(refusal(503, " 0 "), Some(1));
        assert_eq!(refusal(503, "99999999999"), Some(86_400), "nobody is kept for longer than a day");
        assert_eq!(refusal(429, "Tue, 31 Dec 2199 23:59:59 GMT"), Some(86_400));
        assert_eq!(refusal(429, "Fri, 31 Dec 1999 23:59:59 GMT"), Some(1));
        for (status, said) in [(500, "120"), (429, "soon"), (429, "-1")] {
            assert_eq!(refusal(status, said), None, "{status} {said}");
        }
    }
}
