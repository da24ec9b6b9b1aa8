//! What the tasks of a dag may reach. Nothing is granted that does not stand here.

use serde::{Deserialize, Serialize};

use super::{
    ids::{ConnectionId, DagId, VariableKey},
    spec::GrantsSpec,
};

/// Memory of an attempt if its dag asks for none, in MiB.
pub const DEFAULT_MEMORY_MIB: u32 = 256;
/// The most that a dag may ask for, in MiB.
pub const MAX_MEMORY_MIB: u32 = 4_096;

/// The granted reach of a dag's tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    variables: Vec<String>,
    connections: Vec<String>,
    connection_secrets: Vec<String>,
    hosts: Vec<HostGrant>,
    dags: Vec<String>,
    memory_mib: u32,
}

/// A host that tasks may speak HTTP to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostGrant {
    /// Lower case; a leading `*.` stands for any one or more labels.
    pattern: String,
    port: Port,
}

/// The ports of a granted host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Port {
    /// That of the scheme (80 or 443).
    Default,
    One(u16),
    /// Written as `*`.
    Any,
}

/// A grant that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("grant `{grant}` is not valid: {why}")]
pub struct GrantError {
    pub grant: String,
    pub why: String,
}

impl Grants {
    /// Nothing but the default memory.
    pub fn none() -> Self {
        Self {
            variables: Vec::new(),
            connections: Vec::new(),
            connection_secrets: Vec::new(),
            hosts: Vec::new(),
            dags: Vec::new(),
            memory_mib: DEFAULT_MEMORY_MIB,
        }
    }

    /// # Errors
    /// If a name, a host or the memory is not one that can be granted.
    pub fn from_spec(spec: &GrantsSpec) -> Result<Self, GrantError> {
        let wrong = |grant: String, why: &str| GrantError { grant, why: why.to_owned() };
        for key in &spec.variables {
            let prefix = key.strip_suffix('*').unwrap_or(key);
            if prefix.is_empty() {
                return Err(wrong(format!("variable:{key}"), "a prefix must have at least one character before `*`"));
            }
            VariableKey::new(prefix).map_err(|error| wrong(format!("variable:{key}"), &error.to_string()))?;
        }
        for (word, ids) in [("connection", &spec.connections), ("connection-secret", &spec.connection_secrets)] {
            for id in ids {
                ConnectionId::new(id).map_err(|error| wrong(format!("{word}:{id}"), &error.to_string()))?;
            }
        }
        for id in &spec.dags {
            let prefix = id.strip_suffix('*').unwrap_or(id);
            if prefix.is_empty() {
                return Err(wrong(format!("dag:{id}"), "a prefix must have at least one character before `*`"));
            }
            DagId::new(prefix).map_err(|error| wrong(format!("dag:{id}"), &error.to_string()))?;
        }
        let hosts = spec.hosts.iter().map(|host| HostGrant::new(host)).collect::<Result<_, _>>()?;
        let memory_mib = spec.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB);
        if !(1..=MAX_MEMORY_MIB).contains(&memory_mib) {
            return Err(wrong(format!("memory:{memory_mib}"), "it must be 1 to 4096 MiB"));
        }
        Ok(Self {
            variables: spec.variables.clone(),
            connections: spec.connections.clone(),
            connection_secrets: spec.connection_secrets.clone(),
            hosts,
            dags: spec.dags.clone(),
            memory_mib,
        })
    }

    pub fn allows_variable(&self, key: &VariableKey) -> bool {
        matches(&self.variables, key.as_str())
    }

    /// Whether runs of `dag_id` may be started and waited for.
    pub fn allows_dag(&self, dag_id: &DagId) -> bool {
        matches(&self.dags, dag_id.as_str())
    }

    /// Whether the secrets of connection `id` may be read.
    pub fn allows_connection_secret(&self, id: &ConnectionId) -> bool {
        self.connection_secrets.iter().any(|granted| granted == id.as_str())
    }

    /// Whether connection `id` may be used.
    pub fn allows_connection(&self, id: &ConnectionId) -> bool {
        self.usable_connections().any(|granted| granted == id.as_str())
    }

    /// The connection that a host's name stands for, which has no upper case; none if none of that name may be used.
    pub fn connection_of_host(&self, name: &str) -> Option<ConnectionId> {
        // One that is written so, before one that only differs in case.
        let exact = self.usable_connections().find(|granted| *granted == name);
        let found = exact.or_else(|| self.usable_connections().find(|granted| granted.eq_ignore_ascii_case(name)))?;
        ConnectionId::new(found).ok()
    }

    fn usable_connections(&self) -> impl Iterator<Item = &str> {
        self.connections.iter().chain(&self.connection_secrets).map(String::as_str)
    }

    /// Whether HTTP to `host` (lower case, no brackets) at `port` is granted; `default_port` is that of the scheme.
    pub fn allows_host(&self, host: &str, port: u16, default_port: u16) -> bool {
        self.hosts.iter().any(|granted| granted.allows(host, port, default_port))
    }

    /// Bytes of linear memory that an attempt may have in all.
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.memory_mib) << 20
    }

    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    pub fn connections(&self) -> &[String] {
        &self.connections
    }

    pub fn connection_secrets(&self) -> &[String] {
        &self.connection_secrets
    }

    pub fn dags(&self) -> &[String] {
        &self.dags
    }

    /// The hosts as they are written in a dag.
    pub fn hosts(&self) -> impl Iterator<Item = String> {
        self.hosts.iter().map(|host| match host.port {
            Port::Default => host.pattern.clone(),
            Port::One(port) => format!("{}:{port}", host.pattern),
            Port::Any => format!("{}:*", host.pattern),
        })
    }
}

/// Whether one of `granted` is `name`, or a prefix of it that ends in `*`.
fn matches(granted: &[String], name: &str) -> bool {
    granted.iter().any(|granted| match granted.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => granted == name,
    })
}

impl HostGrant {
    fn new(text: &str) -> Result<Self, GrantError> {
        let wrong = |why: &str| GrantError { grant: format!("http:{text}"), why: why.to_owned() };
        let (pattern, port) = match text.rsplit_once(':') {
            Some((host, "*")) => (host, Port::Any),
            Some((host, port)) => {
                (host, Port::One(port.parse().map_err(|_| wrong("the port is neither `*` nor a number up to 65535"))?))
            }
            None => (text, Port::Default),
        };
        let pattern = pattern.to_ascii_lowercase();
        let name = pattern.strip_prefix("*.").unwrap_or(&pattern);
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_');
        if name.is_empty() || name.len() > 253 || !plain {
            return Err(wrong("write a host as `api.example.org`, `api.example.org:8443` or `*.example.org`"));
        }
        Ok(Self { pattern, port })
    }

    fn allows(&self, host: &str, port: u16, default_port: u16) -> bool {
        let name = match self.pattern.strip_prefix('*') {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => host == self.pattern,
        };
        let port = match self.port {
            Port::Default => port == default_port,
            Port::One(granted) => port == granted,
            Port::Any => true,
        };
        name && port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(variables: &[&str], hosts: &[&str]) -> Grants {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Grants::from_spec(&GrantsSpec { variables: own(variables), hosts: own(hosts), ..GrantsSpec::default() })
            .unwrap()
    }

    #[test]
    fn a_prefix_grants_what_starts_with_it_and_nothing_else() {
        let grants = grants(&["reports/*", "target"], &[]);
        let key = |text: &str| VariableKey::new(text).unwrap();
        assert!(grants.allows_variable(&key("reports/a")));
        assert!(grants.allows_variable(&key("target")));
        assert!(!grants.allows_variable(&key("targets")));
        assert!(!grants.allows_variable(&key("report")));
    }

    #[test]
    fn dags_are_granted_by_name_or_prefix() {
        let spec = GrantsSpec { dags: vec!["load".into(), "report-*".into()], ..GrantsSpec::default() };
        let grants = Grants::from_spec(&spec).unwrap();
        let allows = |id: &str| grants.allows_dag(&DagId::new(id).unwrap());
        assert_eq!(["load", "loads", "report-a", "report"].map(allows), [true, false, true, false]);
    }

    #[test]
    fn a_connection_is_used_or_read_too() {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let spec = GrantsSpec {
            connections: own(&["Api", "api"]),
            connection_secrets: own(&["Legacy_DB"]),
            ..GrantsSpec::default()
        };
        let grants = Grants::from_spec(&spec).unwrap();
        let id = |text: &str| ConnectionId::new(text).unwrap();
        assert!(grants.allows_connection(&id("api")) && !grants.allows_connection_secret(&id("api")));
        assert!(grants.allows_connection(&id("Legacy_DB")) && grants.allows_connection_secret(&id("Legacy_DB")));
        assert_eq!(grants.connection_of_host("api"), Some(id("api")));
        assert_eq!(grants.connection_of_host("legacy_db"), Some(id("Legacy_DB")));
        assert_eq!(grants.connection_of_host("other"), None);
    }

    #[test]
    fn hosts_match_whole_names_and_ports() {
        let grants = grants(&[], &["api.example.org", "*.data.example.org:8443", "dev.example.org:*"]);
        assert!(grants.allows_host("api.example.org", 443, 443));
        assert!(!grants.allows_host("api.example.org", 22, 443));
        assert!(!grants.allows_host("xapi.example.org", 443, 443));
        assert!(grants.allows_host("a.data.example.org", 8443, 443));
        assert!(!grants.allows_host("data.example.org", 8443, 443));
        assert!(!grants.allows_host("a.data.example.org", 443, 443));
        assert!(grants.allows_host("dev.example.org", 8080, 80));
    }

    #[test]
    fn what_cannot_be_granted_is_refused_by_name() {
        let refused = |spec: GrantsSpec| Grants::from_spec(&spec).unwrap_err().to_string();
        assert!(refused(GrantsSpec { variables: vec!["*".into()], ..GrantsSpec::default() }).contains("variable:*"));
        assert!(refused(GrantsSpec { hosts: vec!["a b".into()], ..GrantsSpec::default() }).contains("http:a b"));
        assert!(refused(GrantsSpec { dags: vec!["*".into()], ..GrantsSpec::default() }).contains("dag:*"));
        assert!(refused(GrantsSpec { memory_mib: Some(0), ..GrantsSpec::default() }).contains("memory:0"));
    }
}
