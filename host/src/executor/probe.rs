//! Whether a connection leads somewhere: what "Test" of a connection asks.
//!
//! It speaks to the system as a task would, by the same rules for addresses, changes nothing there, and tells no more than whether
//! it was reached and let us in.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use lru::LruCache;
use reqwest::Method;
use tokio::{io::AsyncReadExt as _, sync::Semaphore};

use super::{Executor, egress::wrong_certificate};
use crate::{
    blobs::{BlobError, Blobs},
    connections::{Bucket, Connection, Endpoint, Reach, refused_literally},
    databases::Statement,
    model::time::Timestamp,
    secrets::{Masker, SecretString},
};

/// For all of it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Of what a mail server says first.
const GREETING: &[u8] = b"220";
const SMTP_PORT: u16 = 25;

/// Tests of one user at once, and how long it takes until there may be one more: it must be no way to find out what listens where
/// in the server's network.
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(6);
/// Of all users.
const MAX_AT_A_TIME: usize = 4;
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

/// How often users test connections.
#[derive(Debug)]
pub(super) struct Probes {
    /// When each may do so as often as at first.
    users: Mutex<LruCache<String, Timestamp>>,
    places: Semaphore,
}

impl Default for Probes {
    fn default() -> Self {
        Self { users: Mutex::new(LruCache::new(REMEMBERED)), places: Semaphore::new(MAX_AT_A_TIME) }
    }
}

impl Probes {
    /// Takes one test of a user, or says how long to wait.
    fn take(&self, username: &str, now: Timestamp) -> Result<(), Duration> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = users.get_or_insert_mut(username.to_owned(), || now);
        let next = (*full_at).max(now).after(REFILL);
        let over = next.since(now).saturating_sub(REFILL * BURST);
        if !over.is_zero() {
            return Err(over);
        }
        *full_at = next;
        Ok(())
    }
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tested {
    /// The text is for people, as is the other's.
    Reached(String),
    Failed(String),
    /// The user has to wait so long.
    TooMany(Duration),
}

impl Executor {
    /// Tries `connection` out for a user. What is told holds no secret of it.
    pub async fn test_connection(&self, connection: &Connection, username: &str, now: Timestamp) -> Tested {
        let probes = &self.shared.probes;
        if let Err(wait) = probes.take(username, now) {
            return Tested::TooMany(wait);
        }
        let Ok(_place) = probes.places.try_acquire() else { return Tested::TooMany(REFILL) };
        let tried = tokio::time::timeout(TIMEOUT, self.probe(connection)).await;
        let secrets = connection.secrets();
        let masker = Masker::new(secrets.iter().map(SecretString::expose));
        let tried = tried.unwrap_or_else(|_| Err(format!("it did not answer within {} s", TIMEOUT.as_secs())));
        match tried {
            Ok(found) => Tested::Reached(found),
            Err(why) => Tested::Failed(masker.mask(&why).into_owned()),
        }
    }

    async fn probe(&self, connection: &Connection) -> Result<String, String> {
        match connection.row.conn_type.as_str() {
            "postgres" | "postgresql" | "mysql" | "mariadb" | "sqlite" => {
                let session = self.shared.databases.open(connection).await.map_err(|error| error.to_string())?;
                let one = Statement { text: "SELECT 1".to_owned(), parameters: Vec::new() };
                session.execute(one).await.map_err(|error| error.to_string())?;
                Ok("the database was reached and lets us in".to_owned())
            }
            "aws" | "s3" => self.probe_bucket(connection).await,
            "http" | "https" => self.probe_http(connection).await,
            "smtp" => self.probe_mail(connection).await,
            other => Err(format!(
                "connections of type `{other}` can't be tested; those of type http, https, aws, s3, postgres, mysql, sqlite \
                 and smtp can"
            )),
        }
    }

    async fn probe_bucket(&self, connection: &Connection) -> Result<String, String> {
        let bucket = Bucket::of(connection).map_err(|error| error.to_string())?;
        if let Some(why) = bucket.refused() {
            return Err(format!("its host is {why}"));
        }
        let client = self.shared.egress.by_connection().clone();
        let told = |error: BlobError| match error {
            BlobError::Denied(_) => "the storage was reached and refuses the credentials".to_owned(),
            BlobError::Refused(_) | BlobError::Url { .. } | BlobError::Folder { .. } => {
                "the storage refuses the request".to_owned()
            }
            BlobError::Unavailable(_) => "the storage can't be reached, or has no such bucket".to_owned(),
        };
        let blobs = Blobs::of_bucket(bucket.config(), client, self.shared.tasks.clone()).map_err(told)?;
        blobs.list("").map_err(told)?.try_next().await.map_err(told)?;
        Ok("the bucket was reached and lets us in".to_owned())
    }

    async fn probe_http(&self, connection: &Connection) -> Result<String, String> {
        let endpoint = Endpoint::of(connection).map_err(|error| error.to_string())?;
        if let Some(why) = endpoint.base().host_str().and_then(refused_literally) {
            return Err(format!("its host is {why}"));
        }
        let client = self.shared.egress.by_connection();
        let built = client.request(Method::GET, endpoint.base().clone()).build();
        let mut request = built.map_err(|_| "no request can be made of it".to_owned())?;
        let authorized = endpoint.authorize(&self.shared.connections, client, &mut request).await;
        authorized.map_err(|error| error.to_string())?;
        // Not whatever reqwest says: it repeats addresses that names lead to.
        let unreachable = |error: reqwest::Error| match wrong_certificate(&error) {
            Some(why) => format!("the server can't be reached: {why}"),
            None => "the server can't be reached".to_owned(),
        };
        let status = client.execute(request).await.map_err(unreachable)?.status();
        match status.as_u16() {
            401 | 403 => Err(format!("the server was reached and refuses the credentials: HTTP {}", status.as_u16())),
            500.. => Err(format!("the server was reached and fails: HTTP {}", status.as_u16())),
            code => Ok(format!("the server was reached: HTTP {code}")),
        }
    }

    async fn probe_mail(&self, connection: &Connection) -> Result<String, String> {
        let unreachable = || "the server can't be reached".to_owned();
        let host = connection.row.host.as_deref().filter(|host| !host.is_empty()).ok_or("it has no host")?;
        let port = connection.row.port.unwrap_or(SMTP_PORT);
        let found = self.shared.lookups.find(Reach::Private, host, port).await.map_err(|_| unreachable())?;
        let mut socket = tokio::net::TcpStream::connect(&*found).await.map_err(|_| unreachable())?;
        let mut greeting = [0; GREETING.len()];
        socket.read_exact(&mut greeting).await.map_err(|_| "the server was reached and says nothing".to_owned())?;
        if greeting == GREETING {
            return Ok("the mail server was reached; whether it lets us in shows the first mail".to_owned());
        }
        Err("what was reached is no mail server, or speaks TLS from the start".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_test_some_connections_at_once_and_then_slowly() {
        let (probes, now) = (Probes::default(), Timestamp::from_micros(1_700_000_000_000_000));
        for _ in 0..BURST {
            assert_eq!(probes.take("ada", now), Ok(()));
        }
        assert_eq!(probes.take("ada", now), Err(REFILL));
        assert_eq!(probes.take("eve", now), Ok(()));
        assert_eq!(probes.take("ada", now.after(REFILL)), Ok(()));
    }
}
