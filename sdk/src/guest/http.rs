//! HTTP by `wasi:http`.

use std::io::{self, Read};

use wasip2::{
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingBody, InputStream, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
        },
    },
    io::streams::StreamError,
};

use crate::{
    error::HostError,
    http::{Parts, Request, split},
};

/// Pieces that a body is sent in: what a stream of `wasi:io` takes at a time.
const PIECE_BYTES: usize = 4_096;

/// The body of a response.
pub struct Incoming {
    // Dropped before the body that it is of.
    stream: InputStream,
    _body: IncomingBody,
}

type Head = (u16, Vec<(String, Vec<u8>)>, Incoming);

pub fn http_send(request: Request) -> Result<Head, HostError> {
    let Request { method, url, headers, body, timeout, .. } = request;
    let about = url.split(['?', '#']).next().unwrap_or_default();
    let invalid = |what: &str| HostError::Invalid(format!("{what} can't be sent to `{about}`"));
    let Parts { is_https, authority, path_with_query } = split(&url)?;
    let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
    let headers = Fields::from_list(&headers).map_err(|_| invalid("one of the headers"))?;
    let outgoing = OutgoingRequest::new(headers);
    let method = match method.as_str() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_owned()),
    };
    outgoing.set_method(&method).map_err(|()| invalid("the method"))?;
    let scheme = if is_https { Scheme::Https } else { Scheme::Http };
    outgoing.set_scheme(Some(&scheme)).map_err(|()| invalid("the scheme"))?;
    outgoing.set_authority(Some(authority)).map_err(|()| invalid("the host"))?;
    let slash = if path_with_query.starts_with('/') { "" } else { "/" };
    let path = format!("{slash}{path_with_query}");
    outgoing.set_path_with_query(Some(&path)).map_err(|()| invalid("the path"))?;
    let options = RequestOptions::new();
    if let Some(timeout) = timeout {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        options.set_first_byte_timeout(Some(nanoseconds)).map_err(|()| invalid("the timeout"))?;
    }
    let sent = outgoing.body().map_err(|()| invalid("the body"))?;
    let response = outgoing_handler::handle(outgoing, Some(options)).map_err(|code| refused(&url, code))?;
    if !body.is_empty() {
        let stream = sent.write().map_err(|()| invalid("the body"))?;
        for piece in body.chunks(PIECE_BYTES) {
            // A body that the host refuses ends here; why stands in the response.
            if stream.blocking_write_and_flush(piece).is_err() {
                break;
            }
        }
    }
    drop(OutgoingBody::finish(sent, None));
    response.subscribe().block();
    let answered = response.get().and_then(Result::ok);
    let response = match answered {
        Some(Ok(response)) => response,
        Some(Err(code)) => return Err(refused(&url, code)),
        None => return Err(HostError::Unavailable(format!("`{url}` gave no response"))),
    };
    let headers = response.headers().entries();
    let lost = |()| HostError::Unavailable(format!("the response of `{url}` has no body"));
    let body = response.consume().map_err(lost)?;
    let stream = body.stream().map_err(lost)?;
    Ok((response.status(), headers, Incoming { stream, _body: body }))
}

/// What the host says of a request; the reason stands in the task's log.
fn refused(url: &str, code: ErrorCode) -> HostError {
    let about = url.split(['?', '#']).next().unwrap_or_default();
    match code {
        ErrorCode::HttpRequestDenied => HostError::Denied(format!("a request to {about}; the log says why")),
        ErrorCode::DestinationNotFound => HostError::NotFound(about.to_owned()),
        ErrorCode::HttpRequestBodySize(_) | ErrorCode::HttpResponseBodySize(_) => {
            HostError::TooLarge(format!("a request to {about}; the log says what"))
        }
        ErrorCode::HttpRequestUriInvalid => HostError::Invalid(format!("a request to {about}; the log says why")),
        ErrorCode::InternalError(Some(text)) => HostError::Unavailable(text),
        other => HostError::Unavailable(format!("{about}: {other:?}")),
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.stream.blocking_read(buffer.len() as u64) {
                // Nothing yet.
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                Err(StreamError::Closed) => return Ok(0),
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(io::Error::other(HostError::Unavailable(error.to_debug_string())));
                }
            }
        }
    }
}
