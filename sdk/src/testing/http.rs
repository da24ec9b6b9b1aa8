//! What a native test's host answers to HTTP requests.

use std::io::{self, Cursor, Read};

use super::{Grants, Host, host::with};
use crate::{
    error::HostError,
    http::{Answer, Parts, Request, split},
};

/// Answers, by method and URL, and what was asked.
#[derive(Debug, Default)]
pub(super) struct Http {
    answers: Vec<(String, String, Answer)>,
    asked: Vec<Request>,
}

impl Host {
    /// Answers requests of `method` to `url`, with its query, with `answer`; of several that fit, the first is used up
    /// first, and the last stays.
    pub fn http(self, method: &str, url: &str, answer: Answer) -> Self {
        self.state.borrow_mut().http.answers.push((method.to_owned(), url.to_owned(), answer));
        self
    }

    /// The requests that were sent, as `POST https://api.example.org/orders`, with their bodies.
    pub fn http_requests(&self) -> Vec<(String, Vec<u8>)> {
        let line = |request: &Request| (format!("{} {}", request.method, request.url), request.body.clone());
        self.state.borrow().http.asked.iter().map(line).collect()
    }
}

impl Grants {
    /// As the server does it, but for addresses: nothing is connected to.
    fn check(&self, url: &str) -> Result<(), HostError> {
        let Parts { is_https, authority, .. } = split(url)?;
        let authority = authority.to_ascii_lowercase();
        let denied = |grant: String| Err(HostError::Denied(grant));
        if let Some(id) = authority.strip_suffix(".connection.internal") {
            let mut usable = self.connections.iter().chain(self.connection_secrets);
            return if usable.any(|known| known.eq_ignore_ascii_case(id)) {
                Ok(())
            } else {
                denied(format!("connection:{id}"))
            };
        }
        let default = if is_https { ":443" } else { ":80" };
        let host = authority.strip_suffix(default).unwrap_or(&authority);
        // An address of IPv6 has colons within its brackets.
        let portless = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(host, |(name, _)| name);
        let fits = |granted: &&str| {
            let granted = granted.to_ascii_lowercase();
            let (host, granted) = match granted.strip_suffix(":*") {
                Some(name) => (portless, name.to_owned()),
                None => (host, granted),
            };
            match granted.strip_prefix('*') {
                Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
                None => host == granted,
            }
        };
        if self.hosts.iter().any(fits) { Ok(()) } else { denied(format!("http:{host}")) }
    }
}

/// The body of a response.
pub struct Incoming(Cursor<Vec<u8>>);

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

type Head = (u16, Vec<(String, Vec<u8>)>, Incoming);

pub fn http_send(request: Request) -> Result<Head, HostError> {
    with(&request.url.clone(), |state| {
        if let Some(grants) = &state.grants {
            grants.check(&request.url)?;
        }
        let fits = |(method, url, _): &&(String, String, Answer)| *method == request.method && *url == request.url;
        let Some(answer) = state.http.answers.iter().find(fits).map(|(_, _, answer)| answer.clone()) else {
            let (method, url) = (&request.method, &request.url);
            return Err(HostError::Unavailable(format!("{method} {url}; set an answer with `Host::http`")));
        };
        if state.http.answers.iter().filter(fits).count() > 1
            && let Some(at) = state.http.answers.iter().position(|known| fits(&known))
        {
            state.http.answers.remove(at);
        }
        state.http.asked.push(request);
        let headers = answer.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        Ok((answer.status, headers, Incoming(Cursor::new(answer.body))))
    })
}
