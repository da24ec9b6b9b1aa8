//! One thing that the tasks of a dag may reach, and how two of them compare.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::MAX_MEMORY_MIB;
use crate::model::ids::{ConnectionId, DagId, NameError, VariableKey};

/// Something that a dag asks for, and that it is granted or not. As text `variable:reports/*`, `connection:shop`,
/// `connection-secret:shop`, `http:api.example.org:8443`, `dag:load`, `memory:1024`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Variables may be read.
    Variable(NamePattern),
    /// A connection may be used.
    Connection(ConnectionId),
    /// A connection may be used, and its secrets read.
    ConnectionSecret(ConnectionId),
    /// A host may be spoken to.
    Host(HostPattern),
    /// Runs of dags may be started and waited for.
    Dag(NamePattern),
    /// An attempt may have so many MiB of memory.
    Memory(u32),
}

/// The sorts of grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantKind {
    Variable,
    Connection,
    ConnectionSecret,
    Host,
    Dag,
    Memory,
}

impl GrantKind {
    pub const ALL: [Self; 6] =
        [Self::Variable, Self::Connection, Self::ConnectionSecret, Self::Host, Self::Dag, Self::Memory];

    /// What stands before the colon of a grant.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Variable => "variable",
            Self::Connection => "connection",
            Self::ConnectionSecret => "connection-secret",
            Self::Host => "http",
            Self::Dag => "dag",
            Self::Memory => "memory",
        }
    }

    /// What a grant of this sort is good for, for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Variable => "read variables",
            Self::Connection => "use a connection, without seeing its secrets",
            Self::ConnectionSecret => "use a connection and read its secrets",
            Self::Host => "speak HTTP to a host",
            Self::Dag => "start runs of DAGs and wait for them",
            Self::Memory => "have more memory (MiB) than usual",
        }
    }
}

impl FromStr for GrantKind {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| GrantError::new(text, format!("write {}", Self::words())))
    }
}

impl GrantKind {
    /// All of them, for errors.
    pub(super) fn words() -> String {
        Self::ALL.map(|kind| format!("`{}`", kind.as_str())).join(", ")
    }
}

impl fmt::Display for GrantKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A grant that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("grant `{grant}` is not valid: {why}")]
pub struct GrantError {
    /// Cut to a length that can be shown.
    pub grant: String,
    pub why: String,
}

impl GrantError {
    pub(super) fn new(grant: &str, why: impl fmt::Display) -> Self {
        Self { grant: grant.chars().take(300).collect(), why: why.to_string() }
    }
}

impl Grant {
    /// `name` as a dag writes it in its list of this `kind`.
    ///
    /// # Errors
    /// If there can be no such grant.
    pub fn new(kind: GrantKind, name: &str) -> Result<Self, GrantError> {
        let wrong = |why: &dyn fmt::Display| GrantError::new(&format!("{kind}:{name}"), why);
        let by_name = |error: NameError| wrong(&error);
        Ok(match kind {
            GrantKind::Variable => Self::Variable(NamePattern::new(name, VariableKey::new).map_err(|why| wrong(&why))?),
            GrantKind::Dag => Self::Dag(NamePattern::new(name, DagId::new).map_err(|why| wrong(&why))?),
            GrantKind::Connection => Self::Connection(ConnectionId::new(name).map_err(by_name)?),
            GrantKind::ConnectionSecret => Self::ConnectionSecret(ConnectionId::new(name).map_err(by_name)?),
            GrantKind::Host => Self::Host(HostPattern::new(name).map_err(|why| wrong(&why))?),
            GrantKind::Memory => {
                let mib = name.parse().ok().filter(|mib| (1..=MAX_MEMORY_MIB).contains(mib));
                Self::Memory(mib.ok_or_else(|| wrong(&format_args!("it must be 1 to {MAX_MEMORY_MIB} MiB")))?)
            }
        })
    }

    /// Runs of this one dag may be started and waited for.
    pub fn of_dag(dag_id: &DagId) -> Self {
        // An id has no `*`.
        Self::Dag(NamePattern(dag_id.to_string()))
    }

    pub fn kind(&self) -> GrantKind {
        match self {
            Self::Variable(_) => GrantKind::Variable,
            Self::Connection(_) => GrantKind::Connection,
            Self::ConnectionSecret(_) => GrantKind::ConnectionSecret,
            Self::Host(_) => GrantKind::Host,
            Self::Dag(_) => GrantKind::Dag,
            Self::Memory(_) => GrantKind::Memory,
        }
    }

    /// Whether who has this grant has all that `other` gives.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Variable(own), Self::Variable(other)) | (Self::Dag(own), Self::Dag(other)) => own.covers(other),
            (Self::Connection(own), Self::Connection(other))
            | (Self::ConnectionSecret(own), Self::Connection(other) | Self::ConnectionSecret(other)) => own == other,
            (Self::Host(own), Self::Host(other)) => own.covers(other),
            (Self::Memory(own), Self::Memory(other)) => own >= other,
            _ => false,
        }
    }

    /// Whether this grant gives something of what `revoked` gave and nothing else does.
    pub fn touches(&self, revoked: &Self) -> bool {
        match (self, revoked) {
            (Self::Variable(own), Self::Variable(other)) | (Self::Dag(own), Self::Dag(other)) => own.overlaps(other),
            (Self::Connection(own), Self::Connection(other))
            | (Self::ConnectionSecret(own), Self::Connection(other) | Self::ConnectionSecret(other)) => own == other,
            (Self::Host(own), Self::Host(other)) => own.overlaps(other),
            (Self::Memory(_), Self::Memory(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind())?;
        match self {
            Self::Variable(name) | Self::Dag(name) => name.0.fmt(f),
            Self::Connection(id) | Self::ConnectionSecret(id) => id.fmt(f),
            Self::Host(host) => host.fmt(f),
            Self::Memory(mib) => mib.fmt(f),
        }
    }
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let form = || format!("write a kind, a colon and a name; kinds are {}", GrantKind::words());
        let (kind, name) = text.split_once(':').ok_or_else(|| GrantError::new(text, form()))?;
        let kind = kind.parse().map_err(|_| GrantError::new(text, form()))?;
        Self::new(kind, name)
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A name, or with a `*` at its end all names that begin so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamePattern(String);

impl NamePattern {
    /// # Errors
    /// If there is no name that `check` lets through and it matches; says why.
    pub fn new<T>(text: &str, check: impl Fn(&str) -> Result<T, NameError>) -> Result<Self, String> {
        let prefix = text.strip_suffix('*').unwrap_or(text);
        if prefix.is_empty() && !text.is_empty() {
            return Err("a prefix must have at least one character before `*`".to_owned());
        }
        check(prefix).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }

    fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('*')
    }

    pub fn matches(&self, name: &str) -> bool {
        self.prefix().map_or(self.0 == name, |prefix| name.starts_with(prefix))
    }

    fn covers(&self, other: &Self) -> bool {
        self == other || self.prefix().is_some_and(|prefix| other.0.trim_end_matches('*').starts_with(prefix))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of two patterns that have a name in common, one is part of the other.
    fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

/// A host and its ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPattern {
    /// Lower case; a leading `*.` stands for any one or more labels. An address of IPv6 is in brackets.
    name: String,
    port: Port,
}

/// The ports of a granted host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Port {
    /// That of the scheme (80 or 443).
    Default,
    One(u16),
    /// Written as `*`.
    Any,
}

impl HostPattern {
    fn new(text: &str) -> Result<Self, String> {
        let (name, port) = match text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, "*")) => (host, Port::Any),
            Some((host, port)) => {
                let port = port.parse().map_err(|_| "the port is neither `*` nor a number up to 65535")?;
                (host, Port::One(port))
            }
            None => (text, Port::Default),
        };
        if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = address.parse().map_err(|_| "what is in brackets is no address of IPv6")?;
            return Ok(Self { name: format!("[{address}]"), port });
        }
        let name = name.to_ascii_lowercase();
        let plain_name = name.strip_prefix("*.").unwrap_or(&name);
        let plain = plain_name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_');
        if plain_name.is_empty() || plain_name.len() > 253 || !plain {
            return Err(
                "write a host as `api.example.org`, `api.example.org:8443`, `*.example.org` or `[2001:db8::7]:8443`"
                    .to_owned(),
            );
        }
        Ok(Self { name, port })
    }

    /// Whether HTTP to `host` (lower case; IPv6 in brackets) at `port` is granted; `default_port` is that of the scheme.
    pub fn allows(&self, host: &str, port: u16, default_port: u16) -> bool {
        let name = match self.suffix() {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => host == self.name,
        };
        let port = match self.port {
            Port::Default => port == default_port,
            Port::One(granted) => port == granted,
            Port::Any => true,
        };
        name && port
    }

    /// `.example.org` of `*.example.org`.
    fn suffix(&self) -> Option<&str> {
        self.name.strip_prefix('*')
    }

    fn covers_name(&self, other: &Self) -> bool {
        let inside = |suffix: &str| match other.suffix() {
            Some(other) => other.ends_with(suffix),
            None => other.name.len() > suffix.len() && other.name.ends_with(suffix),
        };
        self.name == other.name || self.suffix().is_some_and(inside)
    }

    fn covers(&self, other: &Self) -> bool {
        self.covers_name(other) && (self.port == other.port || self.port == Port::Any)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let ports = match (self.port, other.port) {
            (Port::Any, _) | (_, Port::Any) | (Port::Default, Port::Default) => true,
            (Port::One(port), Port::Default) | (Port::Default, Port::One(port)) => [80, 443].contains(&port),
            (Port::One(own), Port::One(other)) => own == other,
        };
        ports && (self.covers_name(other) || other.covers_name(self))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.port {
            Port::Default => Ok(()),
            Port::One(port) => write!(f, ":{port}"),
            Port::Any => f.write_str(":*"),
        }
    }
}
