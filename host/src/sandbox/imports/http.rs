//! `wasi:http/outgoing-handler`: an exchange is one call to the supervisor, which has the only HTTP client.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::artifacts::Stream;
use crate::{
    sandbox::attempt::Attempt,
    wire::{Call, CallError, Level, LineSource, Reply},
};

/// The largest request body. `Call::HttpRequest`.
const REQUEST_BYTES: usize = 16 << 20;

/// How much of a response's body is asked for at a time.
const READ_BYTES: u32 = 256 << 10;

/// Exchanges of an attempt whose request is being sent, at a time; others wait.
const EXCHANGES: usize = 8;

/// Sends a guest's requests.
pub struct Hooks {
    attempt: Arc<Attempt>,
    /// Made at the first request.
    exchanges: Option<Arc<Semaphore>>,
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl Hooks {
    pub fn new(attempt: Arc<Attempt>) -> Self {
        Self { attempt, exchanges: None }
    }
}

impl WasiHttpHooks for Hooks {
    // The headers that the host sets itself stay forbidden: `DEFAULT_FORBIDDEN_HEADERS`.

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _errors: Io,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io), Error>> + Send> {
        let attempt = self.attempt.clone();
        let exchanges = self.exchanges.get_or_insert_with(|| Arc::new(Semaphore::new(EXCHANGES))).clone();
        Box::new(async move {
            let _permit = exchanges.acquire_owned().await.map_err(|_| Error::InternalError(None))?;
            let response = exchange(attempt, request, options).await?;
            Ok((response, Box::new(async { Ok(()) }) as Io))
        })
    }
}

async fn exchange(
    attempt: Arc<Attempt>,
    request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<http::Response<WasiBody>, Error> {
    let (head, mut incoming) = request.into_parts();
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if body.len() + data.len() > REQUEST_BYTES {
            return Err(Error::HttpRequestBodySize(Some(REQUEST_BYTES as u64)));
        }
        body.extend_from_slice(&data);
    }
    let timeout = options.and_then(|options| options.first_byte_timeout.or(options.connect_timeout));
    let call = Call::HttpRequest {
        method: head.method.to_string(),
        uri: head.uri.to_string(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect(),
        body: body.into(),
        timeout_ms: timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1)),
    };
    match attempt.call(call).await {
        Ok(Ok(Reply::Response { stream, status, headers })) => {
            let stream = Stream { key: stream, attempt, closed: false };
            let mut response = http::Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = ResponseBody { stream, reading: None, ended: false };
            response.body(body.boxed_unsync()).map_err(|_| Error::HttpProtocolError)
        }
        Ok(Ok(_)) => Err(Error::InternalError(None)),
        Ok(Err(error)) => {
            // The guest sees an error of a kind; its text would be lost.
            let text = match &error {
                CallError::Denied(text)
                | CallError::NotFound(text)
                | CallError::TooLarge(text)
                | CallError::Unavailable(text)
                | CallError::Invalid(text) => text.clone(),
            };
            let message = format!("{} {}: {text}", head.method, head.uri);
            attempt.log().add(Level::Warn, LineSource::Airlock, "http".to_owned(), message, Vec::new());
            attempt.lines_added().await;
            Err(match error {
                CallError::Denied(_) => Error::HttpRequestDenied,
                CallError::NotFound(_) => Error::DestinationNotFound,
                CallError::TooLarge(_) => Error::HttpResponseBodySize(None),
                CallError::Invalid(_) => Error::HttpRequestUriInvalid,
                CallError::Unavailable(text) => Error::InternalError(Some(text)),
            })
        }
        // The attempt is being stopped.
        Err(error) => Err(Error::InternalError(Some(error.to_string()))),
    }
}

/// A response's body, read from the supervisor as the guest reads it.
struct ResponseBody {
    stream: Stream,
    reading: Option<Reading>,
    ended: bool,
}

type Reading = Pin<Box<dyn Future<Output = Result<Vec<u8>, Error>> + Send>>;

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let (attempt, stream) = (self.stream.attempt.clone(), self.stream.key);
        let reading = self.reading.get_or_insert_with(|| {
            Box::pin(async move {
                match attempt.call(Call::StreamRead { stream, max_bytes: READ_BYTES }).await {
                    Ok(Ok(Reply::Bytes(bytes))) => Ok(bytes),
                    Ok(Err(CallError::TooLarge(_))) => Err(Error::HttpResponseBodySize(None)),
                    Ok(_) | Err(_) => Err(Error::HttpResponseIncomplete),
                }
            })
        });
        let read = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        match read {
            Ok(bytes) if bytes.is_empty() => {
                self.ended = true;
                Poll::Ready(None)
            }
            Ok(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
            Err(error) => {
                self.ended = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}
