//! Somebody else's HTTP server: it keeps what it is asked, and answers as it was told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A request that was made.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Its first line and its headers.
    pub head: String,
    /// What was sent: JSON, or a text.
    pub body: Value,
}

/// A server; it ends when it is dropped.
#[derive(Debug)]
pub struct Peer {
    pub port: u16,
    taken: Arc<Mutex<Vec<Taken>>>,
    _serving: JoinSet<()>,
}

impl Peer {
    /// One that answers each request with the next of `statuses` (then with 200) and nothing more.
    pub async fn start(statuses: &[u16]) -> Self {
        let left = Mutex::new(VecDeque::from(statuses.to_vec()));
        Self::answering(move |_| {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            (next.unwrap_or(200), String::new())
        })
        .await
    }

    /// One that answers each request with a status and a body of JSON; that of a 302 or 307 is where to go.
    pub async fn answering(answer: impl Fn(&Taken) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept) = (Arc::new(answer), Arc::clone(&taken));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, kept) = (Arc::clone(&answer), Arc::clone(&kept));
                connections.spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(asked) = request(&mut stream).await {
                        let (status, body) = answer(&asked);
                        kept.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
                        let length = body.len();
                        let location =
                            if matches!(status, 302 | 307) { format!("location: {body}\r\n") } else { String::new() };
                        let head = format!("HTTP/1.1 {status} Told\r\ncontent-length: {length}\r\n{location}");
                        let response = format!("{head}content-type: application/json\r\n\r\n{body}");
                        if stream.write_all(response.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, taken, _serving: serving }
    }

    /// A URL of this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What was asked so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<Taken> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
    Some(Taken { head, body })
}
