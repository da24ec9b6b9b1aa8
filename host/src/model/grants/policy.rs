//! Who says what a dag may reach: the policy for what it asks, and what people decided about it.
//!
//! ```text
//! what its version asks ─┐
//! what was decided ──────┼─> decide ─> what it may reach, and what of its requests waits
//! the policy ────────────┘
//! ```
//!
//! Nothing of this is stored with a version: what a dag may reach follows from its requests, the decisions and the policy of the
//! moment at which an attempt starts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde_json::{Value, json};

use super::{DEFAULT_MEMORY_MIB, Grant, GrantError, GrantKind, Grants};

/// Decisions about one dag, at most.
pub const MAX_DECISIONS: usize = 1_000;

/// Which requests are granted at once, and which wait for an admin. As text: `grant` (none waits), `review` (all wait), or the
/// kinds that wait, divided by commas: `connection-secret,http`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantsPolicy {
    waits: BTreeSet<GrantKind>,
}

impl GrantsPolicy {
    /// All requests wait.
    pub fn review() -> Self {
        Self { waits: GrantKind::ALL.into() }
    }

    pub fn grants(&self, kind: GrantKind) -> bool {
        !self.waits.contains(&kind)
    }
}

impl FromStr for GrantsPolicy {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        match text {
            "grant" => Ok(Self::default()),
            "review" => Ok(Self::review()),
            kinds => {
                let waits = kinds.split(',').map(|kind| kind.trim().parse()).collect::<Result<_, _>>();
                let wrong = |_| {
                    let kinds = GrantKind::words();
                    GrantError::new(
                        text,
                        format!("a policy is `grant`, `review` or a list of the kinds that wait, of {kinds}"),
                    )
                };
                Ok(Self { waits: waits.map_err(wrong)? })
            }
        }
    }
}

impl fmt::Display for GrantsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.waits.len() {
            0 => f.write_str("grant"),
            all if all == GrantKind::ALL.len() => f.write_str("review"),
            _ => {
                let kinds: Vec<_> = self.waits.iter().map(|kind| kind.as_str()).collect();
                f.write_str(&kinds.join(","))
            }
        }
    }
}

/// What people decided about the grants of one dag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Instead of the server's.
    pub policy: Option<GrantsPolicy>,
    /// True: approved; false: revoked.
    pub by_grant: BTreeMap<Grant, bool>,
}

impl Decisions {
    /// All that is decided about a dag, as `shown` says it.
    ///
    /// # Errors
    /// If they are more than [`MAX_DECISIONS`], or something is revoked that is approved too.
    pub fn all(
        policy: Option<GrantsPolicy>,
        approved: &BTreeSet<Grant>,
        revoked: &BTreeSet<Grant>,
    ) -> Result<Self, GrantError> {
        let mut decisions = Self { policy, ..Self::default() };
        decisions.revoke(revoked)?;
        decisions.approve(approved)?;
        match revoked.iter().find(|grant| decisions.by_grant.get(grant) != Some(&false)) {
            Some(lost) => Err(GrantError::new(&lost.to_string(), "it is revoked, and what is approved covers it")),
            None => Ok(decisions),
        }
    }

    /// Those that are approved, or those that are revoked.
    pub fn decided(&self, is_approved: bool) -> impl Iterator<Item = &Grant> {
        self.by_grant.iter().filter(move |(_, decision)| **decision == is_approved).map(|(grant, _)| grant)
    }

    /// What the audit log says of them.
    pub fn shown(&self) -> Value {
        let of = |is_approved| self.decided(is_approved).map(ToString::to_string).collect::<Vec<_>>();
        json!({"approved": of(true), "revoked": of(false), "policy": self.policy.as_ref().map(ToString::to_string)})
    }
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The policy grants it.
    Granted,
    /// An admin approved it, or more.
    Approved,
    /// For an admin.
    Waits,
    /// An admin took it, or part of it, away.
    Revoked,
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Approved => "approved",
            Self::Waits => "waits",
            Self::Revoked => "revoked",
        }
    }

    pub fn is_given(self) -> bool {
        matches!(self, Self::Granted | Self::Approved)
    }
}

/// What a dag may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What attempts get: never more than the dag asks for.
    pub effective: Grants,
    /// Each request, and how it stands.
    pub requests: Vec<(Grant, Standing)>,
}

impl Verdict {
    /// What the dag asks for in vain, until an admin approves it.
    pub fn pending(&self) -> impl Iterator<Item = &Grant> {
        self.requests.iter().filter(|(_, standing)| *standing == Standing::Waits).map(|(grant, _)| grant)
    }
}

impl Decisions {
    pub(super) fn approved(&self) -> impl Iterator<Item = &Grant> {
        self.decided(true)
    }

    fn standing(&self, request: &Grant, policy: &GrantsPolicy) -> Standing {
        let revoked = || self.by_grant.iter().any(|(grant, is_approved)| !is_approved && request.touches(grant));
        if self.approved().any(|approved| approved.covers(request)) {
            Standing::Approved
        } else if revoked() {
            Standing::Revoked
        } else if policy.grants(request.kind()) {
            Standing::Granted
        } else {
            Standing::Waits
        }
    }

    /// How `request` stands of a dag that asks for it; `server` is the policy of those that have none of their own.
    pub fn standing_of(&self, request: &Grant, server: &GrantsPolicy) -> Standing {
        self.standing(request, self.policy.as_ref().unwrap_or(server))
    }

    /// What a dag that asks for `requested` may reach; `server` is the policy of those that have none of their own.
    ///
    /// A request that is not given, as it is more than what was approved, still gives what was approved.
    pub fn decide(&self, requested: &Grants, server: &GrantsPolicy) -> Verdict {
        let policy = self.policy.as_ref().unwrap_or(server);
        let requests: Vec<_> =
            requested.requests().map(|grant| (grant.clone(), self.standing(&grant, policy))).collect();
        let mut given: BTreeSet<Grant> = BTreeSet::new();
        for (request, standing) in &requests {
            if standing.is_given() {
                given.insert(request.clone());
            } else {
                given.extend(self.approved().filter(|approved| request.covers(approved)).cloned());
            }
        }
        let usual = requested.memory_mib().min(DEFAULT_MEMORY_MIB);
        Verdict { effective: Grants::of(given, usual), requests }
    }

    /// Approves `grants`. What was revoked within them is so no more.
    ///
    /// # Errors
    /// If there would be more than [`MAX_DECISIONS`]; then nothing of use is in it any more.
    pub fn approve(&mut self, grants: &BTreeSet<Grant>) -> Result<(), GrantError> {
        self.by_grant.retain(|known, is_approved| *is_approved || !grants.iter().any(|grant| grant.covers(known)));
        self.add(grants, true)
    }

    /// Revokes `grants`. An approval that gives some of them goes, whatever else it gives.
    ///
    /// # Errors
    /// If there would be more than [`MAX_DECISIONS`]; then nothing of use is in it any more.
    pub fn revoke(&mut self, grants: &BTreeSet<Grant>) -> Result<(), GrantError> {
        self.by_grant.retain(|known, is_approved| !*is_approved || !grants.iter().any(|grant| known.touches(grant)));
        self.add(grants, false)
    }

    fn add(&mut self, grants: &BTreeSet<Grant>, is_approved: bool) -> Result<(), GrantError> {
        self.by_grant.extend(grants.iter().map(|grant| (grant.clone(), is_approved)));
        match grants.first() {
            Some(first) if self.by_grant.len() > MAX_DECISIONS => Err(GrantError::new(
                &first.to_string(),
                format!("more than {MAX_DECISIONS} decisions about one dag; approve prefixes instead"),
            )),
            Some(_) | None => Ok(()),
        }
    }
}
