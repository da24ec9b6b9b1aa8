//! Connections that nobody uses just now.
//!
//! Only those to `PostgreSQL` are kept: `DISCARD ALL` takes back whatever a session set, so that the next one - of another dag,
//! perhaps - begins as if it was new.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::{Shared, postgres::Postgres, run::Driver};
use crate::{connections::Connection, secrets::SecretString};

/// How long a connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long one that was kept may take to show that it is alive.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Of one connection id, with the same credentials.
const MAX_IDLE: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    drivers: Vec<(u64, Driver<Postgres>)>,
    last: u64,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that can be used, if there is one of just this connection.
    pub async fn take(&self, connection: &Connection) -> Option<Driver<Postgres>> {
        let owner = owner(connection);
        loop {
            let mut driver = {
                let mut idle = self.idle();
                let newest = idle.drivers.iter().rposition(|(_, driver)| driver.owner == owner)?;
                idle.drivers.remove(newest).1
            };
            // Where a server or the way to it is gone without a word, nothing would ever come.
            if let Ok(Ok(())) = tokio::time::timeout(ANSWER_TIMEOUT, driver.prepare_session()).await {
                return Some(driver);
            }
        }
    }

    /// Keeps a connection for a while.
    pub fn put(shared: &Arc<Shared>, driver: Driver<Postgres>) {
        let key = {
            let mut idle = shared.pool.idle();
            if idle.drivers.iter().filter(|(_, other)| other.owner == driver.owner).count() >= MAX_IDLE {
                return;
            }
            idle.last += 1;
            let key = idle.last;
            idle.drivers.push((key, driver));
            key
        };
        let shared = Arc::clone(shared);
        shared.tasks.clone().spawn(async move {
            // At the end of all, too.
            let _ = shared.closing.run_until_cancelled(tokio::time::sleep(IDLE_TIMEOUT)).await;
            let driver = {
                let mut idle = shared.pool.idle();
                let place = idle.drivers.iter().position(|(other, _)| *other == key);
                place.map(|place| idle.drivers.remove(place).1)
            };
            if let Some(driver) = driver {
                driver.close().await;
            }
        });
    }
}

/// A digest of all that says where a connection leads and as whom.
pub(super) fn owner(connection: &Connection) -> [u8; 32] {
    let row = &connection.row;
    let port = row.port.map(|port| port.to_string());
    let secret = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose().to_owned());
    let parts = [
        Some(row.id.to_string()),
        row.host.clone(),
        row.schema.clone(),
        row.login.clone(),
        port,
        secret(&connection.password),
        secret(&connection.extra),
    ];
    let mut hash = Sha256::new();
    for part in parts {
        hash.update([u8::from(part.is_some())]);
        let text = part.unwrap_or_default();
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}
