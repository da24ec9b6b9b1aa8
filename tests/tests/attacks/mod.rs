//! The attacks of `tests/conformance/attacks.json`, and their like, against the real server: a test is named after the attack that it
//! performs. `docs/attacks.md` says of each attack which test that is, or why it can't happen; a test compares.

mod authorization;
pub mod bytes;
mod files;
mod input;
mod listed;
mod network;
mod sign_in;
mod tasks;
mod uploads;
mod workers;

use std::time::{Duration, Instant};

use airlock_tests::{Client, Server};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// A password that nobody guesses.
const PASSWORD: &str = "tall giraffes eat at noon";

/// How long an answer may take that costs nothing, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(10);

/// A client of a new user of `role`.
async fn user(server: &Server, name: &str, role: &str) -> Client {
    let admin = server.client().await;
    let body = json!({"username": name, "password": PASSWORD, "role": role});
    admin.post("/api/v2/users", &body).await.ok();
    Client::signed_in(&server.url, name, PASSWORD).await
}

/// Sends bytes as they are over a connection of their own; answers what comes back until the server closes or is quiet.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut socket = connect(server).await;
    // A server that has read enough closes.
    let _ = socket.write_all(bytes).await;
    said(&mut socket, SOON).await
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("the server takes connections")
}

/// What the server says until it closes, or says nothing for `patience` - for a second, once it said something.
async fn said(socket: &mut TcpStream, patience: Duration) -> String {
    let (mut all, mut piece) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let patience = if all.is_empty() { patience } else { Duration::from_secs(1) };
        match timeout(patience, socket.read(&mut piece)).await {
            Ok(Ok(1..)) => {}
            _ => return String::from_utf8_lossy(&all).into_owned(),
        }
        // What was read last is as long as it is; the zeros after it do not matter here.
        all.extend(piece.iter().take_while(|byte| **byte != 0));
        piece.fill(0);
    }
}

/// The status that an answer begins with.
fn status(answer: &str) -> u16 {
    answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// `path` with a query.
fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    format!("{path}{}{}", if path.contains('?') { '&' } else { '?' }, pairs.join("&"))
}

/// Each byte in hexadecimal digits, for paths, queries and forms.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| all + format!("%{byte:02x}").as_str())
}

/// The server is what it was: healthy, at once, and the same process.
async fn assert_unharmed(server: &Server, pid: u32) {
    let start = Instant::now();
    let health = Client::anonymous(&server.url).get("/api/v2/monitor/health").await.ok();
    assert_eq!(health["scheduler"]["status"], "healthy", "{health}");
    assert!(start.elapsed() < SOON, "health took {:?}", start.elapsed());
    assert_eq!(server.pid(), pid);
}

/// What the server process holds in memory, in MiB.
fn resident_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") >> 10
}

/// The most that the server process holds in memory until `work` is done, in MiB.
async fn peak_mib<T>(server: &Server, work: impl Future<Output = T>) -> (u64, T) {
    let mut work = std::pin::pin!(work);
    let mut peak = 0;
    loop {
        peak = peak.max(resident_mib(server));
        if let Ok(done) = timeout(Duration::from_millis(20), &mut work).await {
            return (peak, done);
        }
    }
}
