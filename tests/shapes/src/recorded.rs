//! A dag whose task asks for all that can be recorded, and then breaks.

use std::{
    hash::{BuildHasher as _, RandomState},
    hint::black_box,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use airlock_sdk::prelude::*;

/// The test writes other words over this in the built file: that is another component.
static BEHAVIOUR: &str = "behaviour: break";

#[task]
fn numbers() -> Vec<u32> {
    (0..1_000).collect()
}

#[expect(clippy::disallowed_methods, reason = "a guest has no other clock")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Says what it sees, and breaks, or not.
#[task(record = "failure", timeout = "30s")]
fn breaks(numbers: Vec<u32>, url: &str) -> Result<String> {
    let behaviour = black_box(BEHAVIOUR);
    let began = Instant::now();
    let now = now();
    info!("now {now:?}, by chance {}", RandomState::new().hash_one(1));
    println!("{} of region {}", numbers.len(), variables::get("region")?);
    let token = variables::get("api_token")?;
    let connection = connections::get("db")?;
    let password = connection.password.unwrap_or_default();
    println!("with {token} and {password}");
    let _ = variables::get("not/granted");
    std::thread::sleep(Duration::from_millis(700));
    let answer = fetch(url, &format!("key={password}"))?;
    println!("answered {answer}");
    xcom::push("seen", &answer)?;
    artifacts::write("answer.txt", "text/plain", &answer)?;
    println!("after {:?}", began.elapsed());
    match behaviour.trim_start_matches("behaviour: ") {
        "fixed" => Ok(format!("{} bytes", answer.len())),
        "other" => variables::get("never/asked").map_err(Into::into),
        "stuck" => {
            std::thread::sleep(Duration::from_hours(1));
            Ok(answer)
        }
        _ => Ok(numbers[numbers.len() + answer.len()].to_string()),
    }
}

#[cfg(target_family = "wasm")]
fn fetch(url: &str, query: &str) -> Result<String> {
    use wasip2::http::{
        outgoing_handler,
        types::{Fields, IncomingBody, OutgoingBody, OutgoingRequest, Scheme},
    };
    let wrong = |what: &str| Error::new(format!("no {what}"));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| wrong("scheme"))?;
    request.set_authority(Some(url)).map_err(|()| wrong("authority"))?;
    request.set_path_with_query(Some(&format!("/?{query}"))).map_err(|()| wrong("path"))?;
    OutgoingBody::finish(request.body().map_err(|()| wrong("body"))?, None).map_err(|_| wrong("end"))?;
    let response = outgoing_handler::handle(request, None).map_err(|error| Error::new(format!("{error:?}")))?;
    response.subscribe().block();
    let response = response.get().and_then(Result::ok).ok_or_else(|| wrong("response"))?;
    let response = response.map_err(|error| Error::new(format!("{error:?}")))?;
    let incoming = response.consume().map_err(|()| wrong("content"))?;
    let stream = incoming.stream().map_err(|()| wrong("stream"))?;
    let mut all = Vec::new();
    while let Ok(chunk) = stream.blocking_read(1 << 10) {
        all.extend(chunk);
    }
    drop(stream);
    drop(IncomingBody::finish(incoming));
    Ok(String::from_utf8_lossy(&all).into_owned())
}

#[cfg(not(target_family = "wasm"))]
fn fetch(_: &str, _: &str) -> Result<String> {
    bail!("there is no network")
}

#[dag(variables = ["region", "api_token"], connection_secrets = ["db"], hosts = ["127.0.0.1:*"])]
pub fn recorded(dag: &Dag) {
    let url = dag.param_with_default("url", "127.0.0.1:1".to_owned());
    breaks(dag, numbers(dag), url);
}
