//! What the tasks of a dag may reach. Nothing is granted that does not stand here.

mod grant;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Serialize;

pub use self::{
    grant::{Grant, GrantError, GrantKind, HostPattern, NamePattern},
    policy::{Decisions, GrantsPolicy, MAX_DECISIONS, Standing, Verdict},
};
use super::{
    callback::Target,
    ids::{ConnectionId, DagId, VariableKey},
    spec::{DagSpec, GrantsSpec},
};

/// Memory of an attempt if its dag asks for none, in MiB.
pub const DEFAULT_MEMORY_MIB: u32 = 256;
/// The most that a dag may ask for, in MiB.
pub const MAX_MEMORY_MIB: u32 = 4_096;

/// The granted reach of a dag's tasks, or what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grants {
    /// Sorted, each once. None of memory.
    list: Vec<Grant>,
    memory_mib: u32,
}

impl Grants {
    /// Nothing but the default memory.
    pub fn none() -> Self {
        Self { list: Vec::new(), memory_mib: DEFAULT_MEMORY_MIB }
    }

    /// `given`, of which a grant of memory may be more than the `usual_mib`.
    fn of(given: BTreeSet<Grant>, usual_mib: u32) -> Self {
        let mut own = Self { list: Vec::with_capacity(given.len()), memory_mib: usual_mib };
        for grant in given {
            match grant {
                Grant::Memory(mib) => own.memory_mib = own.memory_mib.max(mib),
                grant => own.list.push(grant),
            }
        }
        own
    }

    /// # Errors
    /// If a name, a host or the memory is not one that can be granted.
    pub fn from_spec(spec: &GrantsSpec) -> Result<Self, GrantError> {
        let lists = [
            (GrantKind::Variable, &spec.variables),
            (GrantKind::Connection, &spec.connections),
            (GrantKind::ConnectionSecret, &spec.connection_secrets),
            (GrantKind::Host, &spec.hosts),
            (GrantKind::Dag, &spec.dags),
        ];
        let mut given = BTreeSet::new();
        for (kind, names) in lists {
            for name in names {
                given.insert(Grant::new(kind, name)?);
            }
        }
        match spec.memory_mib {
            // Less than usual is nothing to ask for.
            Some(mib) => match Grant::new(GrantKind::Memory, &mib.to_string())? {
                memory @ Grant::Memory(mib) if mib > DEFAULT_MEMORY_MIB => {
                    given.insert(memory);
                    Ok(Self::of(given, DEFAULT_MEMORY_MIB))
                }
                _ => Ok(Self::of(given, mib)),
            },
            None => Ok(Self::of(given, DEFAULT_MEMORY_MIB)),
        }
    }

    /// What a dag asks for: what it lists, and the dags that its callbacks and those of its tasks start. A run is a run, whoever
    /// of the dag starts it.
    ///
    /// # Errors
    /// As [`from_spec`](Self::from_spec). A callback that can't be asks for nothing; it is refused as a callback.
    pub fn from_dag_spec(spec: &DagSpec) -> Result<Self, GrantError> {
        let mut asked = Self::from_spec(&spec.grants)?;
        let started = started_by_callbacks(spec);
        if !started.is_empty() {
            let all: BTreeSet<Grant> = asked.list.drain(..).chain(started.iter().map(Grant::of_dag)).collect();
            asked.list.extend(all);
        }
        Ok(asked)
    }

    /// All of it, and the memory if it is more than usual.
    pub fn requests(&self) -> impl Iterator<Item = Grant> {
        let memory = (self.memory_mib > DEFAULT_MEMORY_MIB).then_some(Grant::Memory(self.memory_mib));
        self.list.iter().cloned().chain(memory)
    }

    pub fn allows_variable(&self, key: &VariableKey) -> bool {
        self.list.iter().any(|grant| matches!(grant, Grant::Variable(name) if name.matches(key.as_str())))
    }

    /// Whether runs of `dag_id` may be started and waited for.
    pub fn allows_dag(&self, dag_id: &DagId) -> bool {
        self.list.iter().any(|grant| matches!(grant, Grant::Dag(name) if name.matches(dag_id.as_str())))
    }

    /// Whether the secrets of connection `id` may be read.
    pub fn allows_connection_secret(&self, id: &ConnectionId) -> bool {
        self.list.iter().any(|grant| matches!(grant, Grant::ConnectionSecret(granted) if granted == id))
    }

    /// Whether connection `id` may be used.
    pub fn allows_connection(&self, id: &ConnectionId) -> bool {
        self.usable_connections().any(|granted| granted == id)
    }

    /// The connection that a host's name stands for, which has no upper case; none if none of that name may be used.
    pub fn connection_of_host(&self, name: &str) -> Option<&ConnectionId> {
        // One that is written so, before one that only differs in case.
        let exact = self.usable_connections().find(|granted| granted.as_str() == name);
        exact.or_else(|| self.usable_connections().find(|granted| granted.as_str().eq_ignore_ascii_case(name)))
    }

    fn usable_connections(&self) -> impl Iterator<Item = &ConnectionId> {
        self.list.iter().filter_map(|grant| match grant {
            Grant::Connection(id) | Grant::ConnectionSecret(id) => Some(id),
            Grant::Variable(_) | Grant::Host(_) | Grant::Dag(_) | Grant::Memory(_) => None,
        })
    }

    /// Whether HTTP to `host` (lower case; IPv6 in brackets) at `port` is granted; `default_port` is that of the scheme.
    pub fn allows_host(&self, host: &str, port: u16, default_port: u16) -> bool {
        self.list.iter().any(|grant| matches!(grant, Grant::Host(granted) if granted.allows(host, port, default_port)))
    }

    /// Linear memory that an attempt may have in all, in MiB.
    pub fn memory_mib(&self) -> u32 {
        self.memory_mib
    }

    /// Bytes of linear memory that an attempt may have in all.
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.memory_mib) << 20
    }

    /// What this asks for and `before` did not, and the other way round.
    pub fn compare(&self, before: &Self) -> (Vec<Grant>, Vec<Grant>) {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.requests().collect(), self.requests().collect());
        (new.difference(&old).cloned().collect(), old.difference(&new).cloned().collect())
    }
}

/// The dags that callbacks of a dag and of its tasks start.
pub fn started_by_callbacks(spec: &DagSpec) -> BTreeSet<DagId> {
    let of_tasks = spec.nodes.iter().flat_map(|node| &node.callbacks);
    // Many tasks name the same few: each is read once.
    let targets: BTreeSet<&str> =
        spec.callbacks.iter().chain(of_tasks).map(|callback| callback.target.as_str()).collect();
    let dag = |target: &str| match target.parse::<Target>() {
        Ok(Target::Dag(dag_id)) => Some(dag_id),
        Ok(Target::Connection(_)) | Err(_) => None,
    };
    targets.into_iter().filter_map(dag).collect()
}
