//! Which proxies are believed, and what follows for a request that came through some.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;

/// Addresses in a request's `X-Forwarded-For` that are looked at, from the nearest on.
const MAX_HOPS: usize = 20;

/// A net of fewer bits is no net of proxies.
const MIN_PREFIX: u8 = 4;

/// The addresses of proxies that are believed. As text `10.0.0.0/8,192.0.2.7`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// A text that names no addresses, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustedProxiesError {
    #[error("`{0}` is neither an address nor a net, as `10.0.0.0/8`")]
    NoNet(String),
    #[error("`{0}` is everybody, who then could claim any address; name the proxies")]
    Everybody(String),
}

/// What of an address belongs to one customer of a provider: all of IPv4's, of IPv6's the net of 64 bits in which a machine takes as
/// many addresses as it likes.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        address @ IpAddr::V4(_) => address,
    }
}

impl FromStr for TrustedProxies {
    type Err = TrustedProxiesError;

    fn from_str(text: &str) -> Result<Self, TrustedProxiesError> {
        let net = |part: &str| {
            let shown = || part.chars().take(80).collect();
            // Of IPv6 with brackets too, as in a URL: `[fd00::1]` and `[fd00::]/8`.
            let bare = part.strip_prefix('[').and_then(|part| part.split_once(']'));
            let bare = bare.filter(|(_, length)| length.is_empty() || length.starts_with('/'));
            let bare = bare.map_or_else(|| part.to_owned(), |(address, length)| format!("{address}{length}"));
            let address = bare.parse::<IpAddr>().map(IpNet::from);
            let net: IpNet = bare.parse().or(address).map_err(|_| TrustedProxiesError::NoNet(shown()))?;
            // Also in two halves.
            if net.prefix_len() < MIN_PREFIX { Err(TrustedProxiesError::Everybody(shown())) } else { Ok(net) }
        };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(net).collect::<Result<_, _>>().map(Self)
    }
}

impl TrustedProxies {
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Whom a request of `peer` comes from: `forwarded_for` names whom each proxy was asked by, the nearest last. What stands
    /// before the first that is not believed anybody could have written.
    pub fn client<'a>(&self, peer: IpAddr, forwarded_for: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut client = peer.to_canonical();
        for named in forwarded_for.rev().take(MAX_HOPS) {
            if !self.trusts(client) {
                break;
            }
            match address_of(named.trim()) {
                Some(address) => client = address.to_canonical(),
                None => break,
            }
        }
        client
    }
}

/// An address as proxies write it: some put one of IPv6 into brackets, some put the port behind it.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse::<IpAddr>().ok().or_else(bare).or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_many_addresses_is_one() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn the_client_is_the_nearest_that_is_not_believed() {
        let proxies: TrustedProxies = " 10.0.0.0/8, 192.0.2.7 ,fd00::/8".parse().unwrap();
        for (peer, forwarded, client) in [
            ("203.0.113.5", &["1.1.1.1"][..], "203.0.113.5"),
            ("10.1.2.3", &[], "10.1.2.3"),
            ("10.1.2.3", &["1.1.1.1"], "1.1.1.1"),
            ("10.1.2.3", &["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
            ("10.1.2.3", &["6.6.6.6", "1.1.1.1", "192.0.2.7"], "1.1.1.1"),
            ("::ffff:10.1.2.3", &["::ffff:1.1.1.1"], "1.1.1.1"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
            ("10.1.2.3", &["1.1.1.1", "unknown"], "10.1.2.3"),
            ("10.1.2.3", &["1.1.1.1", "10.0.0.9"], "1.1.1.1"),
            ("10.1.2.3", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.1.2.3", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.1.2.3", &["1.1.1.1:4711"], "1.1.1.1"),
            ("10.1.2.3", &["[1.1.1.1]"], "10.1.2.3"),
        ] {
            let (peer, client): (IpAddr, IpAddr) = (peer.parse().unwrap(), client.parse().unwrap());
            assert_eq!(proxies.client(peer, forwarded.iter().copied()), client, "{peer} {forwarded:?}");
        }
        let none: TrustedProxies = "".parse().unwrap();
        assert_eq!(none.client("10.1.2.3".parse().unwrap(), ["1.1.1.1"].into_iter()).to_string(), "10.1.2.3");
        for everybody in ["0.0.0.0/0", "::/0", "0.0.0.0/1,128.0.0.0/1"] {
            let refused = everybody.parse::<TrustedProxies>();
            assert!(matches!(refused, Err(TrustedProxiesError::Everybody(_))), "{everybody}");
        }
        let brackets: TrustedProxies = "[::1], [fd00::]/8".parse().unwrap();
        assert_eq!(brackets, "::1,fd00::/8".parse::<TrustedProxies>().unwrap());
        assert!("[::1".parse::<TrustedProxies>().is_err() && "[::]1".parse::<TrustedProxies>().is_err());
        assert!("10.0.0.0/33".parse::<TrustedProxies>().is_err() && "proxy".parse::<TrustedProxies>().is_err());
    }
}
