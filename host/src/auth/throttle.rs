//! Slows down guessing: a bucket of attempts for each peer and each account.
//!
//! A peer's bucket is small. An account's is larger and fills faster than one peer empties it, so that nobody is locked out because
//! somebody else guesses; who guesses from many addresses does empty it, and then those still get in who were there before.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lru::LruCache;

use crate::model::{proxies::network_of, time::Timestamp};

/// Accounts, and peers, that are remembered; the least recent are forgotten.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

/// How many attempts cost nothing but themselves, and how long each further one must wait.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    refill: Duration,
}

/// Of one address, at whichever accounts.
const OF_PEER: Rate = Rate { burst: 10, refill: Duration::from_secs(6) };
/// At one account, from wherever.
const OF_ACCOUNT: Rate = Rate { burst: 100, refill: Duration::from_secs(3) };

/// Failed attempts of late, by account and by peer. Lost at a restart.
pub(super) struct Throttle {
    accounts: Mutex<LruCache<String, Bucket>>,
    peers: Mutex<LruCache<IpAddr, Bucket>>,
    /// Who signed in from where.
    known: Mutex<LruCache<(String, IpAddr), ()>>,
}

/// Attempts that are left, as the instant at which the bucket will be full again.
#[derive(Clone, Copy, Default)]
struct Bucket {
    full_at: Timestamp,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            accounts: Mutex::new(LruCache::new(REMEMBERED)),
            peers: Mutex::new(LruCache::new(REMEMBERED)),
            known: Mutex::new(LruCache::new(REMEMBERED)),
        }
    }
}

impl Throttle {
    /// Takes an attempt from both buckets, or says how long to wait.
    pub(super) fn take(&self, account: &str, peer: Option<IpAddr>, now: Timestamp) -> Result<(), Duration> {
        let Some(peer) = peer.map(network_of) else { return take(&self.accounts, account.to_owned(), OF_ACCOUNT, now) };
        take(&self.peers, peer, OF_PEER, now)?;
        if lock(&self.known).get(&(account.to_owned(), peer)).is_some() {
            return Ok(());
        }
        take(&self.accounts, account.to_owned(), OF_ACCOUNT, now)
    }

    /// Takes an attempt from the bucket of `peer` alone, at an account that is not known yet.
    pub(super) fn take_of_peer(&self, peer: Option<IpAddr>, now: Timestamp) -> Result<(), Duration> {
        peer.map_or(Ok(()), |peer| take(&self.peers, network_of(peer), OF_PEER, now))
    }

    /// Gives that attempt back.
    pub(super) fn succeeded_of_peer(&self, peer: Option<IpAddr>) {
        if let Some(peer) = peer {
            give_back(&self.peers, &network_of(peer), OF_PEER);
        }
    }

    /// Gives the attempt back: the right password was given. Failures before it count on, else whoever has an account could guess at
    /// others between two sign-ins.
    pub(super) fn succeeded(&self, account: &str, peer: Option<IpAddr>) {
        give_back(&self.accounts, account, OF_ACCOUNT);
        if let Some(peer) = peer.map(network_of) {
            give_back(&self.peers, &peer, OF_PEER);
            lock(&self.known).put((account.to_owned(), peer), ());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take<K: Hash + Eq>(
    buckets: &Mutex<LruCache<K, Bucket>>,
    key: K,
    rate: Rate,
    now: Timestamp,
) -> Result<(), Duration> {
    let mut buckets = lock(buckets);
    let bucket = buckets.get_or_insert_mut(key, Bucket::default);
    let most = rate.refill * rate.burst;
    // None is full later than that, unless the clock was set back: nobody is to wait until it is that time again.
    let was_set_back = bucket.full_at.since(now) > most;
    let full_at = if was_set_back { now } else { bucket.full_at.max(now) }.after(rate.refill);
    let over = full_at.since(now).saturating_sub(most);
    if over.is_zero() {
        bucket.full_at = full_at;
        Ok(())
    } else {
        Err(over)
    }
}

fn give_back<K, Q>(buckets: &Mutex<LruCache<K, Bucket>>, key: &Q, rate: Rate)
where
    K: Hash + Eq + std::borrow::Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    if let Some(bucket) = lock(buckets).get_mut(key) {
        bucket.full_at = bucket.full_at.before(rate.refill);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_micros(1_000_000_000_000)
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn the_eleventh_guess_of_a_peer_waits_whoever_it_is_about() {
        let throttle = Throttle::default();
        for account in 0..OF_PEER.burst {
            assert_eq!(throttle.take(&account.to_string(), Some(peer(1)), start()), Ok(()));
        }
        assert_eq!(throttle.take("ada", Some(peer(1)), start()), Err(OF_PEER.refill));
        assert_eq!(throttle.take("ada", Some(peer(2)), start()), Ok(()), "another peer");
        assert_eq!(throttle.take("ada", Some(peer(1)), start().after(OF_PEER.refill)), Ok(()));

        let v6 = |text: &str| Some(text.parse().unwrap());
        for machine in 0..OF_PEER.burst {
            assert_eq!(throttle.take("ada", v6(&format!("2001:db8::{machine:x}")), start()), Ok(()));
        }
        assert!(throttle.take("ada", v6("2001:db8::ffff"), start()).is_err(), "one machine has many addresses");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let throttle = Throttle::default();
        throttle.take("ada", Some(peer(1)), start()).unwrap();
        throttle.succeeded("ada", Some(peer(1)));
        let earlier = start().before(Duration::from_hours(2));
        for _ in 0..OF_PEER.burst {
            assert_eq!(throttle.take("ada", Some(peer(1)), earlier), Ok(()));
        }
        assert_eq!(throttle.take("ada", Some(peer(1)), earlier), Err(OF_PEER.refill), "guesses are counted again");
    }

    #[test]
    fn who_has_an_account_guesses_no_faster_at_others() {
        let throttle = Throttle::default();
        for _ in 0..OF_PEER.burst {
            throttle.take("eve", Some(peer(1)), start()).unwrap();
            throttle.succeeded("eve", Some(peer(1)));
            throttle.take("ada", Some(peer(1)), start()).unwrap();
        }
        assert!(throttle.take("ada", Some(peer(1)), start()).is_err());
    }

    #[test]
    fn nobody_is_locked_out_by_who_guesses() {
        let throttle = Throttle::default();
        throttle.take("ada", Some(peer(9)), start()).unwrap();
        throttle.succeeded("ada", Some(peer(9)));
        // One address, for a day.
        let mut now = start();
        for _ in 0..24 * 3_600 {
            now = now.after(Duration::from_secs(1));
            let _ = throttle.take("ada", Some(peer(1)), now);
        }
        assert_eq!(throttle.take("ada", Some(peer(2)), now), Ok(()));
        // A hundred addresses.
        for guesser in 100..200 {
            for _ in 0..OF_PEER.burst {
                let _ = throttle.take("ada", Some(peer(guesser)), now);
            }
        }
        assert!(throttle.take("ada", Some(peer(3)), now).is_err());
        assert_eq!(throttle.take("ada", Some(peer(9)), now), Ok(()), "who signed in there before");
    }
}
