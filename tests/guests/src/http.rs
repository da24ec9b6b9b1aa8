//! One HTTP exchange through wasi:http.

use wasip2::http::{
    outgoing_handler,
    types::{Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme},
};

use crate::bindings::{
    airlock::task::types::Value,
    exports::airlock::task::runner::{Failure, Outcome},
};

/// Posts `body` to `http://example.test/path?x=1` and answers status, a header and body of the response.
pub fn fetch(body: &[u8]) -> Result<Outcome, Failure> {
    exchange(body)
        .map(|bytes| Outcome::Success(Some(Value { media_type: "text/plain".to_owned(), bytes })))
        .map_err(Failure::Fatal)
}

fn exchange(body: &[u8]) -> Result<Vec<u8>, String> {
    let show = |error: &dyn std::fmt::Debug| format!("{error:?}");
    let headers = Fields::from_list(&[("x-ask".to_owned(), b"yes".to_vec())]).map_err(|error| show(&error))?;
    let request = OutgoingRequest::new(headers);
    request.set_method(&Method::Post).map_err(|()| "method")?;
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "scheme")?;
    request.set_authority(Some("example.test")).map_err(|()| "authority")?;
    request.set_path_with_query(Some("/path?x=1")).map_err(|()| "path")?;
    let outgoing = request.body().map_err(|()| "body")?;
    let response = outgoing_handler::handle(request, None).map_err(|error| show(&error))?;
    let stream = outgoing.write().map_err(|()| "write")?;
    for chunk in body.chunks(4096) {
        if stream.blocking_write_and_flush(chunk).is_err() {
            break;
        }
    }
    drop(stream);
    // A body that the host refused fails here; what the host says stands in the response.
    let _ = OutgoingBody::finish(outgoing, None);
    response.subscribe().block();
    let response = response.get().ok_or("no response")?.map_err(|()| "taken")?.map_err(|error| show(&error))?;
    let mut all = format!("{} {:?} ", response.status(), response.headers().get("x-answer")).into_bytes();
    let incoming = response.consume().map_err(|()| "consume")?;
    let stream = incoming.stream().map_err(|()| "stream")?;
    while let Ok(chunk) = stream.blocking_read(1 << 20) {
        all.extend(chunk);
    }
    drop(stream);
    drop(IncomingBody::finish(incoming));
    Ok(all)
}
