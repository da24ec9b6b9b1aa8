//! `airlock serve --worker`: runs task instances for a server elsewhere.
//!
//! The process starts a runner and connects its stream with the server's supervisor. It reads nothing of what passes, and holds
//! no database, no storage and no key.

use std::{convert::Infallible, num::NonZeroU32, time::Duration};

use reqwest::{
    StatusCode, Url,
    header::{AUTHORIZATION, CONNECTION, LOCATION, UPGRADE},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    error::{CliError, Kind, OrFail, Result},
    machine,
    output::print,
    settings::ServeConfig,
    tls,
};
use crate::{
    api::workers::{ATTEMPTS, CODE, MEMORY, NAME, PROCESS, PROTOCOL, QUEUES, SLOTS, SPEAKS, VERSION},
    executor,
    model::{build::Build, grants::DEFAULT_MEMORY_MIB, queue::Queues},
    sandbox,
};

/// A server that says nothing for so long has given the attempts to others, or will: they are ended before that. Nor is one waited for
/// longer that does not answer who comes.
const SILENCE: Duration = Duration::from_secs(10);
/// The first and the longest pause between two tries to connect: whoever takes over from a leader is to have its workers soon.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// The same after its runner ended, longer each time unless it lived that long: where none lives, attempts are better off elsewhere.
const PAUSES_OF_RUNNER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
const CONNECT: Duration = Duration::from_secs(10);
const BUFFER: usize = 64 << 10;
/// How long a runner that has closed its stream may take to end.
const REAP: Duration = Duration::from_millis(100);
/// How long a worker goes on asking a server that it does not fit: while an upgrade goes on, one of its own version may lead soon. It says
/// why it ends before its fleet gives up a pod whose worker does not come.
const UPGRADE_TIME: Duration = Duration::from_mins(4);
/// Processes that pass on to each other are not followed further.
const MAX_REDIRECTS: u32 = 3;
/// Of what a server says that can't answer just now.
const MAX_SHOWN_CHARS: usize = 200;

/// Reads `workers.url`.
fn server_url(text: &str) -> Result<Url> {
    const FORM: &str = "write it as http://airlock:8080";
    let url = text.parse::<Url>().or_fail(Kind::Usage, || format!("`workers.url` is `{text}`, which is no URL"));
    let url = url.map_err(|error| error.hint(FORM))?;
    if !matches!(url.scheme(), "http" | "https") {
        let text = format!("`workers.url` is `{text}`, which begins neither with http:// nor with https://");
        return Err(CliError::text(Kind::Usage, text).hint(FORM));
    }
    Ok(url)
}

/// What a worker is told.
struct Worker {
    url: Url,
    token: String,
    name: String,
    process: Uuid,
    slots: u32,
    /// None: the machine does not say what it has.
    memory_mib: Option<u64>,
    queues: Queues,
    /// After how many attempts it leaves.
    attempts: Option<NonZeroU32>,
    build: Build,
    client: reqwest::Client,
}

/// Why a worker has nothing to do at this moment.
enum Lost {
    /// Another try may help.
    Again(String),
    /// It may; its runner is gone, and how it ended.
    Runner(String),
    /// It may, when a server of its own version leads.
    Unfit(CliError),
    /// It won't: nothing more is wanted of it.
    Drained,
    /// It won't.
    Never(CliError),
}

/// Works until SIGINT or SIGTERM; then ends what it has, and leaves.
///
/// # Errors
/// If it can't start, or the server refuses it.
pub async fn work(config: &ServeConfig) -> Result<()> {
    let missing =
        |what: &str, hint: &str| CliError::text(Kind::Usage, format!("a worker needs `{what}`")).hint(hint.to_owned());
    let url = config.workers_url.as_deref();
    let url =
        url.ok_or_else(|| missing("workers.url", "name the server by AIRLOCK_WORKERS_URL, as http://airlock:8080"))?;
    let token = config.workers_token.clone();
    let token = token
        .ok_or_else(|| missing("workers.token", "give the server and its workers the same AIRLOCK_WORKERS_TOKEN"))?;
    let name = config.workers_name.clone().unwrap_or_else(|| {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        format!("{host}-{}", std::process::id())
    });
    // Nobody else in this process has done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let worker = Worker {
        url: server_url(url)?,
        token,
        name,
        process: Uuid::new_v4(),
        slots: config.parallelism,
        memory_mib: config.workers_memory_mib.map(u64::from).or_else(usual_memory_mib),
        queues: config.workers_queues.clone().unwrap_or_default(),
        attempts: config.workers_attempts,
        build: sandbox::build().or_fail(Kind::Failed, || "can't start the sandbox".into())?,
        client: reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build()
            .or_fail(Kind::Failed, || "can't make requests".into())?,
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let leaving = CancellationToken::new();
    print(&format!("airlock {} works for {} as {}\n", env!("CARGO_PKG_VERSION"), worker.url, worker.name))?;
    let mut pause = Duration::ZERO;
    let mut unfit_since = None;
    // Why there is nothing to do is said once, however often it is tried.
    let mut said = None;
    let work = async {
        while !leaving.is_cancelled() {
            let begun = Instant::now();
            let [mut first, mut longest] = PAUSES;
            match worker.stream(&leaving).await {
                Ok(()) if leaving.is_cancelled() || worker.attempts.is_some() => break,
                Ok(()) => (unfit_since, said) = (None, None),
                Err(Lost::Drained) => {
                    tracing::info!("drained");
                    break;
                }
                Err(Lost::Never(error)) => return Err(error),
                Err(Lost::Unfit(error)) => {
                    if begun.duration_since(*unfit_since.get_or_insert(begun)) >= UPGRADE_TIME {
                        return Err(error);
                    }
                    say(&mut said, error.to_string(), "this worker does not fit the server that leads");
                }
                Err(Lost::Again(why)) => say(&mut said, why, "there is no server to work for"),
                Err(Lost::Runner(why)) => {
                    if worker.attempts.is_some() {
                        // Who looks after the process is told how its attempt ended.
                        return Err(CliError::text(Kind::Failed, format!("the runner of this worker is gone: {why}")));
                    }
                    tracing::error!(why, "the runner of this worker is gone, and all that it ran");
                    [first, longest] = PAUSES_OF_RUNNER;
                }
            }
            pause = if begun.elapsed() > longest { first } else { (pause * 2).clamp(first, longest) };
            leaving.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        Ok(())
    };
    let mut work = std::pin::pin!(work);
    tokio::select! {
        ended = &mut work => return ended,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("leaving when what runs has ended");
    leaving.cancel();
    tokio::select! {
        ended = &mut work => ended,
        // What runs goes on meanwhile, also if this is not heard.
        never = worker.drain() => match never {},
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

fn say(said: &mut Option<String>, why: String, what: &str) {
    // Some tell the time.
    let words = |text: &str| text.replace(|char: char| char.is_ascii_digit(), "");
    if said.as_deref().map(words) != Some(words(&why)) {
        tracing::warn!(why, "{what}");
        *said = Some(why);
    }
}

/// What attempts may have of the memory that there is: the rest is for what is around them. One attempt always has its usual limit.
fn usual_memory_mib() -> Option<u64> {
    Some((machine::memory_mib()? / 5 * 4).max(u64::from(DEFAULT_MEMORY_MIB)))
}

impl Worker {
    /// Connects, unless it is `leaving`, and passes on what is said until one of both ends.
    async fn stream(&self, leaving: &CancellationToken) -> std::result::Result<(), Lost> {
        let again = |error: &dyn std::fmt::Display| Lost::Again(error.to_string());
        let of_runner = |error: std::io::Error| Lost::Runner(error.to_string());
        let Some(connected) = leaving.run_until_cancelled(self.connect()).await else { return Ok(()) };
        let mut server = connected?;
        let (mut child, mut from_runner, mut to_runner) =
            executor::start_runner(self.slots).map_err(|error| again(&error))?;
        let (mut from_server, mut to_server) = tokio::io::split(&mut server);
        let down = async {
            let mut buffer = vec![0; BUFFER];
            loop {
                match tokio::time::timeout(SILENCE, from_server.read(&mut buffer)).await {
                    Ok(Ok(0)) => return Ok(()),
                    Ok(Ok(count)) => to_runner.write_all(&buffer[..count]).await.map_err(of_runner)?,
                    Ok(Err(error)) => return Err(again(&error)),
                    Err(_) => return Err(Lost::Again("the server says nothing".into())),
                }
            }
        };
        let up = async {
            let mut buffer = vec![0; BUFFER];
            loop {
                match from_runner.read(&mut buffer).await.map_err(of_runner)? {
                    0 => return Err(Lost::Runner("it has closed its stream".into())),
                    count => {
                        to_server.write_all(&buffer[..count]).await.map_err(|error| again(&error))?;
                        to_server.flush().await.map_err(|error| again(&error))?;
                    }
                }
            }
        };
        let mut ended: std::result::Result<(), Lost> = tokio::select! {
            ended = down => ended,
            ended = up => ended,
        };
        if let Err(Lost::Runner(why)) = &mut ended
            && let Ok(Ok(status)) = tokio::time::timeout(REAP, child.wait()).await
        {
            *why = status.to_string();
        }
        // Whatever it runs is another's by now, or will be.
        let _ = child.kill().await;
        ended
    }

    async fn connect(&self) -> std::result::Result<reqwest::Upgraded, Lost> {
        let again = |error| Lost::Again(told(error));
        let mut url = of_workers(&self.url, &["stream"]);
        for _ in 0..MAX_REDIRECTS {
            let mut request = self
                .client
                .get(url.clone())
                .header(CONNECTION, "upgrade")
                .header(UPGRADE, PROTOCOL)
                .header(AUTHORIZATION, format!("Bearer {}", self.token))
                .header(NAME, &self.name)
                .header(PROCESS, self.process.to_string())
                .header(SLOTS, self.slots)
                .header(QUEUES, self.queues.to_string())
                .header(VERSION, &self.build.version)
                .header(SPEAKS, self.build.protocol)
                .header(CODE, &self.build.code);
            if let Some(memory_mib) = self.memory_mib {
                request = request.header(MEMORY, memory_mib);
            }
            if let Some(attempts) = self.attempts {
                request = request.header(ATTEMPTS, attempts.get());
            }
            // One that is stopped, or out of reach behind a proxy, takes the connection and says nothing.
            let answer = tokio::time::timeout(SILENCE, request.send()).await;
            let answer = answer.map_err(|_| Lost::Again(format!("{url} does not answer")))?.map_err(again)?;
            match answer.status() {
                StatusCode::SWITCHING_PROTOCOLS => {
                    tracing::info!(server = %url, "working");
                    return answer.upgrade().await.map_err(again);
                }
                StatusCode::TEMPORARY_REDIRECT => {
                    let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(|to| url.join(to));
                    match to {
                        Some(Ok(to)) if url.scheme() == "https" && to.scheme() != "https" => {
                            return Err(Lost::Again(format!(
                                "the server passes on to `{to}`, where anybody could read this worker's token: give the server that \
                                 leads TLS (`tls.cert`) and a `cluster.url` with https://"
                            )));
                        }
                        Some(Ok(to)) => url = to,
                        _ => return Err(Lost::Again("the server does not say who leads".into())),
                    }
                }
                status => return Err(lost_by(status, &url, &answer.text().await.unwrap_or_default())),
            }
        }
        Err(Lost::Again(format!("no server leads at this moment: {url} is no longer, or not yet, the one that does")))
    }

    /// Asks for no more attempts, until that is heard. Never ends.
    async fn drain(&self) -> Infallible {
        let mut said = None;
        while let Err(why) = self.ask_to_leave().await {
            say(&mut said, why, "the server can't be told that this worker leaves");
            tokio::time::sleep(PAUSES[1]).await;
        }
        std::future::pending().await
    }

    async fn ask_to_leave(&self) -> std::result::Result<(), String> {
        let url = of_workers(&self.url, &[&self.name, "leave"]);
        let asked = self.client.post(url).timeout(SILENCE).header(AUTHORIZATION, format!("Bearer {}", self.token));
        let asked = asked.header(PROCESS, self.process.to_string()).send().await;
        asked.and_then(reqwest::Response::error_for_status).map(drop).map_err(told)
    }
}

/// What the server at `server` has for workers, behind the path that it may have there.
fn of_workers(server: &Url, segments: &[&str]) -> Url {
    let mut url = server.clone();
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["api", "v2", "workers"]).extend(segments);
    }
    url
}

/// What is lost by an answer with this `status` and `text`. It may be that of a proxy, whose server is not there at this moment.
fn lost_by(status: StatusCode, url: &Url, text: &str) -> Lost {
    let problem: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let said = problem.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or(text).trim();
    let refused = || CliError::text(Kind::Refused, format!("the server refuses this worker: {status}: {said}"));
    match status {
        StatusCode::GONE => Lost::Drained,
        StatusCode::CONFLICT => Lost::Unfit(refused()),
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Lost::Never(refused()),
        _ => {
            let shown: String = said.chars().take(MAX_SHOWN_CHARS).collect();
            Lost::Again(format!("{url} answers {status}: {shown}"))
        }
    }
}

/// An error and its causes on one line, with what helps.
fn told(error: reqwest::Error) -> String {
    let text = format!("{:#}", anyhow::Error::new(error));
    match tls::hint(&text) {
        Some(hint) => format!("{text} ({hint})"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pods::settings::Fleets;

    #[test]
    fn only_what_no_other_try_mends_ends_a_worker() {
        let url: Url = "http://airlock/api/v2/workers/stream".parse().unwrap();
        for status in [404, 408, 421, 425, 429, 500, 502, 503, 504] {
            let lost = lost_by(StatusCode::from_u16(status).unwrap(), &url, "  <html>no server is there</html>\n");
            let Lost::Again(why) = lost else { panic!("{status}") };
            assert!(why.contains(&status.to_string()) && why.ends_with(": <html>no server is there</html>"), "{why}");
        }
        // The id of a request is another each time: it would be said each time.
        let problem = r#"{"status": 403, "detail": "the token of workers is wrong", "request_id": "b1c2"}"#;
        for status in [400, 401, 403] {
            let lost = lost_by(StatusCode::from_u16(status).unwrap(), &url, problem);
            let Lost::Never(error) = lost else { panic!("{status}") };
            assert!(error.to_string().ends_with(": the token of workers is wrong"), "{error}");
        }
        assert!(matches!(lost_by(StatusCode::CONFLICT, &url, problem), Lost::Unfit(_)));
        assert!(matches!(lost_by(StatusCode::GONE, &url, problem), Lost::Drained));
    }

    #[test]
    fn a_server_behind_a_path_is_asked_there() {
        for (server, stream) in [
            ("http://airlock", "http://airlock/api/v2/workers/stream"),
            ("http://airlock:8080/?x#y", "http://airlock:8080/api/v2/workers/stream"),
            ("https://all.example/airlock", "https://all.example/airlock/api/v2/workers/stream"),
            ("https://all.example/a/b/", "https://all.example/a/b/api/v2/workers/stream"),
        ] {
            assert_eq!(of_workers(&server.parse().unwrap(), &["stream"]).as_str(), stream);
        }
        let leave = of_workers(&"http://airlock/x".parse().unwrap(), &["a/b c", "leave"]);
        assert_eq!(leave.as_str(), "http://airlock/x/api/v2/workers/a%2Fb%20c/leave");
    }

    #[test]
    fn a_worker_that_does_not_fit_ends_before_its_pod_is_given_up() {
        let fleets = Fleets::parse("{server: 'http://airlock', fleets: {default: {max: 1}}}").unwrap();
        let started_within = Duration::from_secs(30);
        assert!(fleets.fleets.values().all(|fleet| started_within + UPGRADE_TIME < fleet.start));
    }
}
