//! HTTP for dags in YAML: requests, downloads, and waits for what appears under a URL.
//!
//! ```yaml
//! dag_id: prices
//! grants: {connections: [shop]}
//! tasks:
//!   there: {uses: http/wait, with: {url: "http://shop.connection.internal/v1/prices"}}
//!   prices: {uses: http/get, with: {url: "http://shop.connection.internal/v1/prices"}, needs: [there], retries: 3}
//! ```

use std::{io, time::Duration};

use airlock_sdk::{
    chrono::{DateTime, TimeDelta, Utc},
    prelude::*,
    serde_json::{self, Map, Value},
};

/// A file that was downloaded.
#[data]
struct Download {
    /// The artifact's name.
    name: String,
    media_type: String,
    size_bytes: u64,
}

/// A GET. The result is the answer: its JSON, or its text. Airflow: HttpOperator.
#[task]
fn get(url: String, query: Option<Map<String, Value>>, headers: Option<Map<String, Value>>) -> Result<Value> {
    read(answer("GET", prepared("GET", url, query, headers)?)?)
}

/// A request of any method, with `json` or the text `body`. The result is the answer: its JSON, or its text.
#[task]
fn request(
    method: String,
    url: String,
    query: Option<Map<String, Value>>,
    headers: Option<Map<String, Value>>,
    json: Option<Value>,
    body: Option<String>,
) -> Result<Value> {
    send(&method, url, query, headers, json, body)
}

/// A POST of `json` or the text `body`. The result is the answer: its JSON, or its text.
#[task]
fn post(
    url: String,
    query: Option<Map<String, Value>>,
    headers: Option<Map<String, Value>>,
    json: Option<Value>,
    body: Option<String>,
) -> Result<Value> {
    send("POST", url, query, headers, json, body)
}

/// A GET whose answer becomes artifact `name`, of any size.
#[task]
fn download(url: String, name: String, headers: Option<Map<String, Value>>) -> Result<Download> {
    let mut response = answer("GET", prepared("GET", url, None, headers)?)?;
    let media_type = response.header("content-type").filter(|media_type| is_media_type(media_type));
    let media_type = media_type.unwrap_or("application/octet-stream").to_owned();
    let mut artifact = artifacts::create(&name, &media_type)?;
    io::copy(&mut response, &mut artifact)?;
    let size_bytes = artifact.finish()?;
    Ok(Download { name, media_type, size_bytes })
}

/// Waits until something is under `url`: a HEAD (or `method`) is answered with a status below 400. Between two looks, `poke_interval`
/// apart (a minute), it holds nothing; after `timeout` (a week) it fails for good, or is skipped if it may `soft_fail`. By a connection of
/// type `aws` it waits for an object in storage. Airflow: HttpSensor, S3KeySensor.
#[task]
fn wait(
    ctx: &Context,
    url: String,
    method: Option<String>,
    headers: Option<Map<String, Value>>,
    poke_interval: Option<String>,
    timeout: Option<String>,
    soft_fail: Option<bool>,
) -> Result<()> {
    let method = method.unwrap_or_else(|| "HEAD".to_owned());
    let found = match prepared(&method, url, None, headers)?.any_status().send() {
        Ok(response) => response.status() < 400,
        Err(error) if matches!(error.find(), Some(HostError::Unavailable(_))) => {
            info!("{error}");
            false
        }
        Err(error) => return Err(error),
    };
    if found {
        return Ok(());
    }
    let end = after(ctx.started_at(), length(timeout.as_deref().unwrap_or("7d"))?);
    let now = now();
    if now < end {
        let next = after(now, length(poke_interval.as_deref().unwrap_or("1m"))?);
        return Err(Later::at(next.min(end)).into());
    }
    let message = "it did not come in time";
    if soft_fail.unwrap_or(false) { Err(Skip::because(message).into()) } else { Err(Fatal::new(message).into()) }
}

fn send(
    method: &str,
    url: String,
    query: Option<Map<String, Value>>,
    headers: Option<Map<String, Value>>,
    json: Option<Value>,
    body: Option<String>,
) -> Result<Value> {
    let request = prepared(method, url, query, headers)?;
    let request = match (json, body) {
        (Some(_), Some(_)) => return Err(Fatal::new("there is both `json` and `body`; leave one out").into()),
        (Some(json), None) => request.json(&json)?,
        (None, Some(body)) => request.body("text/plain; charset=utf-8", body),
        (None, None) => request,
    };
    read(answer(method, request)?)
}

/// What a request is answered. One that leads elsewhere is no answer to it: nothing follows it, and what came with it is about the way.
fn answer(method: &str, request: http::Request) -> Result<http::Response> {
    let response = request.send()?;
    let status = response.status();
    let leads_elsewhere = match status {
        301 | 307 | 308 => true,
        // To other methods: it is done, and there is more to see.
        302 | 303 => method == "GET",
        _ => false,
    };
    match response.header("location") {
        Some(to) if leads_elsewhere => {
            // The query may hold what no log should.
            let to = to.split(['?', '#']).next().unwrap_or_default();
            Err(Fatal::new(format!("HTTP {status} leads to {to}, and nothing follows it; ask there")).into())
        }
        _ => Ok(response),
    }
}

/// Whether it can be an artifact's; what servers send need not be one.
fn is_media_type(text: &str) -> bool {
    text.len() <= 255 && text.contains('/') && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn prepared(
    method: &str,
    url: String,
    query: Option<Map<String, Value>>,
    headers: Option<Map<String, Value>>,
) -> Result<http::Request> {
    let mut request = http::request(method, url);
    for (name, value) in query.unwrap_or_default() {
        request = request.query(&name, text(&name, value)?);
    }
    for (name, value) in headers.unwrap_or_default() {
        let value = text(&name, value)?;
        request = request.header(name, value);
    }
    Ok(request)
}

fn text(name: &str, value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(Fatal::new(format!("`{name}` is neither a text nor a number")).into())
        }
    }
}

fn read(response: http::Response) -> Result<Value> {
    let is_json = response.header("content-type").is_some_and(|media_type| {
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        media_type == "application/json" || media_type.ends_with("+json")
    });
    let text = response.text()?;
    // As the answer to what is done, and has nothing to say.
    if is_json && !text.is_empty() {
        return serde_json::from_str(&text).context("the response");
    }
    Ok(Value::String(text))
}

fn length(text: &str) -> Result<Duration> {
    match humantime::parse_duration(text) {
        Ok(length) => Ok(length),
        Err(error) => Err(Fatal::new(format!("`{text}` is not a length of time: {error}")).into()),
    }
}

fn after(at: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
    at.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[expect(clippy::disallowed_methods, reason = "tasks have no clock but WASI's")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

airlock_sdk::export!(tasks = [get, post, request, download, wait]);

#[cfg(test)]
mod tests {
    use airlock_sdk::{http::Answer, serde_json::json, testing::Host};

    use super::*;

    const URL: &str = "https://api.example.org/x";

    #[test]
    fn json_is_read_as_json_and_the_rest_as_text() {
        let host = Host::new().http("GET", &format!("{URL}?n=1"), Answer::json(&json!({"a": [1]}))).http(
            "GET",
            URL,
            Answer::status(200, "plain"),
        );
        let query = json!({"n": 1}).as_object().cloned();
        assert_eq!(host.run(|_| get::run(URL.into(), query, None)).unwrap(), json!({"a": [1]}));
        assert_eq!(host.run(|_| get::run(URL.into(), None, None)).unwrap(), json!("plain"));
    }

    /// An answer with headers.
    fn told(status: u16, body: &str, headers: &[(&str, &str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer { headers, ..Answer::status(status, body) }
    }

    #[test]
    fn an_answer_that_leads_elsewhere_is_none() {
        for status in [301, 302, 303, 307, 308] {
            let elsewhere = told(status, "moved", &[("Location", "https://api.example.org/y?token=hush")]);
            let host = Host::new().http("GET", URL, elsewhere.clone()).http("POST", URL, elsewhere);
            let error = host.run(|_| get::run(URL.into(), None, None)).unwrap_err();
            assert!(error.find::<Fatal>().is_some());
            assert!(error.to_string().contains("leads to https://api.example.org/y, and"), "{error}");
            assert!(host.run(|_| download::run(URL.into(), "x".into(), None)).is_err());
            assert!(host.artifact("x").is_none());
            let posted = host.run(|_| post::run(URL.into(), None, None, None, None));
            assert_eq!(posted.is_ok(), [302, 303].contains(&status), "{status}");
        }
        let host = Host::new().http("GET", URL, told(304, "", &[]));
        assert_eq!(host.run(|_| get::run(URL.into(), None, None)).unwrap(), json!(""));
    }

    #[test]
    fn what_servers_say_of_an_answer_need_not_be_so() {
        let of_type = |media_type, body| {
            let host = Host::new().http("GET", URL, told(200, body, &[("content-type", media_type)]));
            (host.run(|_| get::run(URL.into(), None, None)), host.run(|_| download::run(URL.into(), "x".into(), None)))
        };
        assert_eq!(of_type("application/json", "").0.unwrap(), json!(""));
        assert_eq!(of_type("Application/Vnd.X+JSON; v=1", "[1]").0.unwrap(), json!([1]));
        assert!(of_type("application/json", "{").0.unwrap_err().to_string().contains("the response"));
        for odd in ["csv", "", "text/ä"] {
            assert_eq!(of_type(odd, "a").1.unwrap().media_type, "application/octet-stream", "{odd}");
        }
    }

    #[test]
    fn what_is_sent_is_what_was_given() {
        let host = Host::new().http("POST", URL, Answer::status(201, ""));
        host.run(|_| post::run(URL.into(), None, None, Some(json!([1])), None)).unwrap();
        assert_eq!(host.http_requests(), [(format!("POST {URL}"), b"[1]".to_vec())]);
        let both = host.run(|_| post::run(URL.into(), None, None, Some(json!(1)), Some("1".into())));
        assert!(both.unwrap_err().to_string().contains("leave one out"));
    }

    #[test]
    fn a_wait_ends_when_it_is_there() {
        let host = Host::new().http("HEAD", URL, Answer::status(404, "")).http("HEAD", URL, Answer::status(200, ""));
        let wait = || host.run(|ctx| wait::run(ctx, URL.into(), None, None, None, None, None));
        assert!(wait().unwrap_err().find::<Later>().is_some());
        assert!(wait().is_ok());
        // Airflow: AirflowSensorTimeout, after which there is no other try.
        let host = Host::new().http("HEAD", URL, Answer::status(404, ""));
        let vain = host.run(|ctx| wait::run(ctx, URL.into(), None, None, None, Some("0s".into()), None));
        assert!(vain.unwrap_err().find::<Fatal>().is_some());
    }

    #[test]
    fn a_download_is_an_artifact() {
        let host = Host::new().http("GET", URL, Answer::status(200, "a,b\n"));
        let download = host.run(|_| download::run(URL.into(), "x.csv".into(), None)).unwrap();
        assert_eq!((download.size_bytes, host.artifact("x.csv").unwrap().bytes), (4, b"a,b\n".to_vec()));
    }
}
