//! Slows down guessing: a bucket of attempts for each account and each peer.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lru::LruCache;

use crate::model::time::Timestamp;

/// Failed attempts in a row that cost nothing but themselves.
const BURST: u32 = 10;
/// How long an account or a peer must wait for one more attempt after that.
const REFILL: Duration = Duration::from_secs(6);
/// Accounts, and peers, that are remembered; the least recent are forgotten.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

/// Failed attempts of late, by account and by peer. Lost at a restart.
pub(super) struct Throttle {
    accounts: Mutex<LruCache<String, Bucket>>,
    peers: Mutex<LruCache<IpAddr, Bucket>>,
}

/// Attempts that are left, as the instant at which the bucket will be full again.
#[derive(Clone, Copy, Default)]
struct Bucket {
    full_at: Timestamp,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { accounts: Mutex::new(LruCache::new(REMEMBERED)), peers: Mutex::new(LruCache::new(REMEMBERED)) }
    }
}

impl Throttle {
    /// Takes an attempt from both buckets, or says how long to wait.
    pub(super) fn take(&self, account: &str, peer: Option<IpAddr>, now: Timestamp) -> Result<(), Duration> {
        if let Some(peer) = peer {
            take(&self.peers, peer, now)?;
        }
        take(&self.accounts, account.to_owned(), now)
    }

    /// Forgets the failures: the right password was given.
    pub(super) fn succeeded(&self, account: &str, peer: Option<IpAddr>) {
        lock(&self.accounts).pop(account);
        if let Some(peer) = peer {
            lock(&self.peers).pop(&peer);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take<K: Hash + Eq>(buckets: &Mutex<LruCache<K, Bucket>>, key: K, now: Timestamp) -> Result<(), Duration> {
    let mut buckets = lock(buckets);
    let bucket = buckets.get_or_insert_mut(key, Bucket::default);
    let full_at = bucket.full_at.max(now).after(REFILL);
    let over = full_at.since(now).saturating_sub(REFILL * BURST);
    if over.is_zero() {
        bucket.full_at = full_at;
        Ok(())
    } else {
        Err(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_guess_waits_and_time_or_success_lets_it_pass() {
        let throttle = Throttle::default();
        let start = Timestamp::from_micros(1_000_000_000);
        let peer = Some(IpAddr::from([10, 0, 0, 1]));
        for _ in 0..BURST {
            assert_eq!(throttle.take("ada", None, start), Ok(()));
        }
        assert_eq!(throttle.take("ada", None, start), Err(REFILL));
        assert_eq!(throttle.take("bob", None, start), Ok(()), "another account");
        assert_eq!(throttle.take("ada", None, start.after(REFILL)), Ok(()));
        throttle.succeeded("ada", None);
        assert_eq!(throttle.take("ada", None, start.after(REFILL)), Ok(()));

        for account in 0..BURST {
            assert_eq!(throttle.take(&account.to_string(), peer, start), Ok(()));
        }
        assert!(throttle.take("eve", peer, start).is_err(), "one peer, many accounts");
    }
}
