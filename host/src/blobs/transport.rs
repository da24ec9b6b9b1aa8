//! Which requests to a bucket are made again, beyond those that `object_store` knows.

use std::error::Error;

use futures_util::future::BoxFuture;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
    },
};
use reqwest::Client;

/// Whose client it is; each says of a request whether it was sent at all.
#[derive(Debug)]
pub(super) enum Connector {
    /// One of the storage's options.
    Own,
    /// One that is there already, with its own rules for addresses.
    Given(Client),
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = match self {
            Self::Own => ReqwestConnector::default().connect(options)?,
            Self::Given(client) => HttpClient::new(client.clone()),
        };
        Ok(HttpClient::new(Transport(client)))
    }
}

#[derive(Debug)]
struct Transport(HttpClient);

impl HttpService for Transport {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async { self.0.execute(request).await.map_err(of_kind) })
    }
}

/// A connection may end in the moment in which it is given a request. hyper cancels that one before any of it is sent, which
/// `object_store` (0.14) takes for a fault that it does not know, and would not try again.
fn of_kind(error: HttpError) -> HttpError {
    if error.kind() == HttpErrorKind::Unknown && is_unsent(&error) {
        return HttpError::new(HttpErrorKind::Request, error);
    }
    error
}

fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) || error.source().is_some_and(is_unsent)
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;

    use super::*;

    #[tokio::test]
    async fn a_request_that_was_never_sent_is_made_again() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.unwrap();
        drop(connection);
        let canceled = sender.send_request(hyper::Request::new(String::new())).await.unwrap_err();
        assert!(canceled.is_canceled(), "{canceled}");
        assert_eq!(of_kind(HttpError::new(HttpErrorKind::Unknown, canceled)).kind(), HttpErrorKind::Request);
        let other = HttpError::new(HttpErrorKind::Unknown, std::io::Error::other("what nobody knows"));
        assert_eq!(of_kind(other).kind(), HttpErrorKind::Unknown);
    }
}
