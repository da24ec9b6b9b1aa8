//! The way from a library that opens its own sockets to a server.
//!
//! The library connects to a socket in a folder of ours, and what it says and is told is passed on. So the address that was
//! checked is the one that is connected to, while TLS still knows the server by its name; and what comes is counted: a server
//! that answers more at a time than fits is cut off before the library has it in memory.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixListener, UnixStream},
};
use tokio_util::task::TaskTracker;

use super::DatabaseError;
use crate::connections::{LookupError, Lookups, Reach};

/// The port in the name of a socket that a client of `PostgreSQL` looks for.
pub const PORT: u16 = 5432;
/// The largest row, with what surrounds it.
pub const MAX_ROW_BYTES: u64 = 8 << 20;
/// What lies in buffers on the way, and was asked for by nobody yet.
const SLACK_BYTES: u64 = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PIECE_BYTES: usize = 16 << 10;

/// A socket that leads to a server, for one connection.
#[derive(Debug)]
pub struct Relay {
    /// It is needed until the connection is made.
    folder: TempDir,
    pub meter: Meter,
}

/// Counts what the server sends.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// Since a row was complete.
    bytes: AtomicU64,
    is_above: AtomicBool,
}

impl Meter {
    /// What came so far is complete: a row, or an answer. Answers how many bytes it was.
    pub fn reset(&self) -> usize {
        usize::try_from(self.0.bytes.swap(0, Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Whether the server was cut off.
    pub fn is_above(&self) -> bool {
        self.0.is_above.load(Ordering::Relaxed)
    }

    /// Whether so many bytes more are let through.
    fn takes(&self, bytes: usize) -> bool {
        let before = self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let fits = before + bytes as u64 <= MAX_ROW_BYTES + SLACK_BYTES;
        if !fits {
            self.0.is_above.store(true, Ordering::Relaxed);
        }
        fits
    }
}

impl Relay {
    /// Connects to `host`, an operator's word, and waits for one client.
    ///
    /// # Errors
    /// If the host can't be reached, or must not be.
    pub async fn to(lookups: &Lookups, tasks: &TaskTracker, host: &str, port: u16) -> Result<Self, DatabaseError> {
        let unreachable =
            |why: &dyn std::fmt::Display| DatabaseError::Unavailable(format!("`{host}` could not be reached: {why}"));
        let addresses = lookups.find(Reach::Private, host, port).await.map_err(|error| match error {
            LookupError::Refused(refused) => {
                DatabaseError::Denied(format!("`{host}` has the address {}, which is {}", refused.address, refused.why))
            }
            other => unreachable(&other),
        })?;
        let server = connect(&addresses).await.map_err(|error| unreachable(&error))?;
        let folder = TempDir::with_prefix("airlock-db-").map_err(|error| unreachable(&error))?;
        let listener = UnixListener::bind(socket(folder.path())).map_err(|error| unreachable(&error))?;
        let meter = Meter::default();
        let counted = meter.clone();
        tasks.spawn(async move {
            // Only this process can open the folder, and it connects once or gives up.
            let accepted = tokio::time::timeout(CONNECT_TIMEOUT, listener.accept()).await;
            drop(listener);
            if let Ok(Ok((client, _))) = accepted {
                pass_on(client, server, &counted).await;
            }
        });
        Ok(Self { folder, meter })
    }

    /// Where a client of `PostgreSQL` looks for a socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The socket itself.
    pub fn socket(&self) -> std::path::PathBuf {
        socket(self.folder.path())
    }
}

fn socket(folder: &Path) -> std::path::PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}"))
}

async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(server)) => {
                server.set_nodelay(true)?;
                return Ok(server);
            }
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
    }
    Err(last)
}

/// Until one of them ends.
async fn pass_on(client: UnixStream, server: TcpStream, meter: &Meter) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let down = async {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(bytes @ 1..) = from_server.read(&mut piece).await {
            if !meter.takes(bytes) || to_client.write_all(&piece[..bytes]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
