//! Which addresses may be connected to, and the names that lead to them.
//!
//! A name passes only if every address that it has may be connected to; who looked it up connects to one of those, so that it
//! can't be rebound in between.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Names that are looked up at a time: each takes a thread while it lasts.
const MAX_LOOKUPS: usize = 32;

/// Whose word a host is.
#[derive(Debug, Clone, Copy)]
pub enum Reach {
    /// A task's: public addresses.
    Public,
    /// An operator's: all but those where machines keep their credentials.
    Private,
}

impl Reach {
    /// Why `address` may not be connected to; none if it may.
    pub fn refuses(self, address: IpAddr) -> Option<&'static str> {
        let why = why_refused(address);
        match self {
            Self::Public => why,
            Self::Private => why.filter(|why| METADATA.contains(why)),
        }
    }
}

/// Where machines in clouds find their credentials: nobody's word opens these.
const METADATA: [&str; 2] = ["link-local", "a cloud's metadata service"];

/// Why an operator's host is refused, if it is an address itself: no name is looked up then.
pub fn refused_literally(host: &str) -> Option<&'static str> {
    let address = without_brackets(host).parse().ok()?;
    Reach::Private.refuses(address)
}

/// A host as the system and TLS know it: in a URI an address of IPv6 has brackets.
pub fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Looks names up with the system's resolver. Clones share how many may be looked up at a time.
#[derive(Debug, Clone)]
pub struct Lookups(Arc<Semaphore>);

impl Default for Lookups {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LOOKUPS)))
    }
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error(transparent)]
    Refused(#[from] AddressRefused),
    #[error("its name can't be looked up: {0}")]
    NotFound(#[source] io::Error),
    #[error("its name was not looked up within {} s", RESOLVE_TIMEOUT.as_secs())]
    TimedOut,
}

impl Lookups {
    /// The addresses of `host`, a name or an address, all of which may be connected to.
    ///
    /// # Errors
    /// If one of them may not be, or there are none.
    pub async fn find(&self, reach: Reach, host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
        // Never closed.
        let _permit = self.0.acquire().await.map_err(|_| LookupError::TimedOut)?;
        let lookup = tokio::net::lookup_host((without_brackets(host), port));
        let lookup = tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await;
        let found: Vec<SocketAddr> =
            lookup.map_err(|_| LookupError::TimedOut)?.map_err(LookupError::NotFound)?.collect();
        for address in found.iter().map(SocketAddr::ip) {
            if let Some(why) = reach.refuses(address) {
                return Err(AddressRefused { host: host.to_owned(), address, why }.into());
            }
        }
        if found.is_empty() {
            return Err(LookupError::NotFound(io::ErrorKind::NotFound.into()));
        }
        Ok(found)
    }
}

/// The same for an HTTP client, which connects to what it is answered.
#[derive(Debug, Clone)]
pub struct Resolver {
    pub reach: Reach,
    pub lookups: Lookups,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { reach, lookups } = self.clone();
        Box::pin(async move {
            let found = lookups.find(reach, name.as_str(), 0).await.map_err(|error| match error {
                // Who asks looks for it.
                LookupError::Refused(refused) => Box::<dyn Error + Send + Sync>::from(refused),
                other => other.into(),
            })?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A host has an address that may not be connected to.
#[derive(Debug)]
pub struct AddressRefused {
    pub host: String,
    pub address: IpAddr,
    pub why: &'static str,
}

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address, why } = self;
        let may =
            if METADATA.contains(why) { "nothing may connect there" } else { "tasks may reach public addresses only" };
        write!(f, "`{host}` has the address {address}, which is {why}; {may}")
    }
}

impl Error for AddressRefused {}

/// Why no task may connect to `address`; none if it is a public one.
fn why_refused(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => why_refused_v4(v4),
        IpAddr::V6(v6) => why_refused_v6(v6),
    }
}

/// IANA IPv4 special-purpose address registry, and the addresses where clouds keep credentials.
fn why_refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    let why = match address.octets() {
        [0, ..] => "of this network",
        [127, ..] => "loopback",
        [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => "a cloud's metadata service",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "shared (carrier-grade NAT)",
        [169, 254, ..] => "link-local",
        [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [240..=255, ..] => "reserved",
        [224..=239, ..] => "multicast",
        _ => return None,
    };
    Some(why)
}

/// Global unicast only; an address that carries an IPv4 address is judged by that.
fn why_refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(v4) = address.to_ipv4_mapped() {
        return why_refused_v4(v4);
    }
    let segments = address.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    let why = match segments {
        // NAT64, RFC 6052
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => return why_refused_v4(inner(high, low)),
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        // Of AWS and Google.
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => "a cloud's metadata service",
        [0xfc00..=0xfdff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2002, ..] => "a 6to4 tunnel",
        [0x2001, 0, ..] => "a Teredo tunnel",
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "reserved",
        [0x2000..=0x3fff, ..] => return None,
        _ => "not a public address",
    };
    Some(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_of_ipv6_is_found_with_brackets_and_without() {
        for host in ["::1", "[::1]"] {
            let found = Lookups::default().find(Reach::Private, host, 25).await.unwrap();
            assert_eq!(found, ["[::1]:25".parse::<SocketAddr>().unwrap()], "{host}");
        }
        assert_eq!(refused_literally("[fe80::1]"), Some("link-local"));
    }

    #[test]
    fn only_public_addresses_may_be_reached() {
        for inside in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "10.0.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.100.100.200",
            "169.254.169.254",
            "168.63.129.16",
            "192.0.0.170",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:a9fe:a9fe::",
            "2001:0:1::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(why_refused(inside.parse().unwrap()).is_some(), "{inside}");
        }
        // Nor may connections lead to where machines keep their credentials.
        for (address, refused) in [
            ("169.254.169.254", true),
            ("168.63.129.16", true),
            ("100.100.100.200", true),
            ("192.0.0.192", true),
            ("64:ff9b::6464:64c8", true),
            ("fe80::1", true),
            ("fd00:ec2::254", true),
            ("fd20:ce::254", true),
            ("10.0.0.1", false),
            ("100.100.100.201", false),
            ("fd00::1", false),
        ] {
            assert_eq!(Reach::Private.refuses(address.parse().unwrap()).is_some(), refused, "{address}");
        }
        let told = |address: &str, why| {
            AddressRefused { host: "x".to_owned(), address: address.parse().unwrap(), why }.to_string()
        };
        assert!(told("10.0.0.1", "private").ends_with("; tasks may reach public addresses only"));
        assert!(told("169.254.169.254", "link-local").ends_with("; nothing may connect there"));
        for outside in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]
        {
            assert_eq!(why_refused(outside.parse().unwrap()), None, "{outside}");
        }
    }
}
