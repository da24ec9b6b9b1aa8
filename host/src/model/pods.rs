//! Fleets: workers that run as pods in Kubernetes, started and ended as there is work for them.
//!
//! Values and rules only. [`settings`] reads what fleets there are, [`manifest`] says what a pod of one is, [`plan`] decides which
//! pods to create, to drain and to delete. Airflow: the KubernetesExecutor, and `pod_override`.

pub mod manifest;
pub mod plan;
pub mod settings;

use std::{fmt, str::FromStr};

use serde::Serialize;

use super::time::Timestamp;

/// The label, and the prefix of annotations, of all that is ours in the cluster.
pub const LABEL_FLEET: &str = "airlock.dev/fleet";
/// The label that tells the pods of this installation from those of others.
pub const LABEL_INSTALLATION: &str = "airlock.dev/installation";
/// The annotation that tells by which settings a pod was made.
pub const ANNOTATION_SPEC: &str = "airlock.dev/spec";
/// Label values, and so names of fleets, are names in DNS; what else is in a pod's name needs room, too.
const MAX_FLEET_BYTES: usize = 30;

/// Names a fleet: a DNS label of at most 30 letters, as it is part of names of pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FleetName(String);

impl FleetName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FleetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FleetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_name = text.chars().all(is_inner) && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-');
        if !is_name || text.len() > MAX_FLEET_BYTES {
            return Err(format!(
                "`{}` can't name a fleet: use 1 to {MAX_FLEET_BYTES} of a to z, 0 to 9 and `-`, which is neither first nor last",
                text.chars().take(80).collect::<String>()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a pod within its fleet.
///
/// A fleet of at most `max` pods has the places 0 to `max - 1`, each of which is a pod's at a time; the generation tells the pods apart
/// that had it one after the other. So a creation that is asked for twice - because its answer was lost, because the process that
/// asked was killed - is of the same name, and the cluster refuses the second.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    pub fleet: FleetName,
    pub place: u32,
    pub generation: u64,
}

impl PodName {
    /// As `airlock-0f3c5a-gpu-0-1`, where `installation` is what stands before the fleet.
    pub fn full(&self, installation: &str) -> String {
        let start = installation.get(..6).unwrap_or(installation);
        format!("airlock-{start}-{}-{}-{}", self.fleet, self.place, self.generation)
    }

    /// Reads [`full`](Self::full); none if the name is another's.
    pub fn parse(text: &str, installation: &str) -> Option<Self> {
        let start = installation.get(..6).unwrap_or(installation);
        let rest = text.strip_prefix("airlock-")?.strip_prefix(start)?.strip_prefix('-')?;
        let mut parts = rest.rsplitn(3, '-');
        let generation = parts.next()?.parse().ok()?;
        let place = parts.next()?.parse().ok()?;
        let name = Self { fleet: parts.next()?.parse().ok()?, place, generation };
        // `007` is not what was written.
        (name.full(installation) == text).then_some(name)
    }
}

/// A pod, as the cluster shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub phase: Phase,
    /// It was asked to end, by whomever.
    pub is_leaving: bool,
    /// By which settings it was made: see [`ANNOTATION_SPEC`].
    pub spec: String,
    pub created_at: Timestamp,
    /// The machine that it is on.
    pub node: Option<String>,
}

/// How far a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Its containers don't run yet; why, if something is wrong.
    Starting(Option<Fault>),
    Running,
    /// Since when, and why, if not because its work was done.
    Ended(Timestamp, Option<Fault>),
}

/// What a cluster does to pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The system ended it because it took more memory than its limit.
    OomKilled { limit: Option<String> },
    /// Its node ended it, because the node is short of something.
    Evicted(String),
    /// Others needed its place more.
    Preempted(String),
    /// Its node is gone.
    NodeLost(String),
    /// Somebody deleted it.
    Deleted,
    /// Its image can't be had.
    Image { image: String, why: String },
    /// There is no node for it.
    Unschedulable(String),
    /// What it names does not exist: a secret, a volume.
    Configuration(String),
    /// Its process failed.
    Exited { code: i32, why: String },
    /// The cluster failed it for a reason of its own.
    Other(String),
}

impl Fault {
    /// A word for it, as a figure's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OomKilled { .. } => "oom_killed",
            Self::Evicted(_) => "evicted",
            Self::Preempted(_) => "preempted",
            Self::NodeLost(_) => "node_lost",
            Self::Deleted => "deleted",
            Self::Image { .. } => "image",
            Self::Unschedulable(_) => "unschedulable",
            Self::Configuration(_) => "configuration",
            Self::Exited { .. } => "exited",
            Self::Other(_) => "other",
        }
    }

    /// Whether another pod of the same kind would have it, too.
    pub fn is_of_all(&self) -> bool {
        match self {
            Self::Image { .. } | Self::Configuration(_) => true,
            // Who is unschedulable is what an autoscaler of nodes looks at.
            Self::Unschedulable(_)
            | Self::OomKilled { .. }
            | Self::Evicted(_)
            | Self::Preempted(_)
            | Self::NodeLost(_)
            | Self::Deleted
            | Self::Exited { .. }
            | Self::Other(_) => false,
        }
    }
}

/// What follows "the pod ...".
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |f: &mut fmt::Formatter<'_>, what: &str, why: &str| match why {
            "" => f.write_str(what),
            why => write!(f, "{what}: {why}"),
        };
        match self {
            Self::OomKilled { limit: Some(limit) } => write!(f, "was OOM-killed (limit {limit})"),
            Self::OomKilled { limit: None } => f.write_str("was OOM-killed"),
            Self::Evicted(why) => said(f, "was evicted", why),
            Self::Preempted(why) => said(f, "had to make room for others", why),
            Self::NodeLost(why) => said(f, "was lost with its node", why),
            Self::Deleted => f.write_str("was deleted"),
            Self::Image { image, why } => said(f, &format!("can't start: its image `{image}` can't be pulled"), why),
            Self::Unschedulable(why) => said(f, "can't be scheduled", why),
            Self::Configuration(why) => said(f, "can't start", why),
            Self::Exited { code, why } => said(f, &format!("ended with code {code}"), why),
            Self::Other(why) => said(f, "failed", why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pods_are_read_as_they_are_written() {
        for (fleet, place, generation) in [("gpu", 0, 0), ("a-1-2", 17, 3), ("x", u32::MAX, u64::MAX)] {
            let name = PodName { fleet: fleet.parse().unwrap(), place, generation };
            let full = name.full("0f3c5a77");
            assert!(full.len() <= 63, "{full}");
            assert_eq!(PodName::parse(&full, "0f3c5a77"), Some(name), "{full}");
        }
        for other in [
            "airlock-0f3c5a-gpu-0",
            "airlock-0f3c5a--0-0",
            "airlock-0f3c5a-gpu-00-1",
            "airlock-0f3c5a-gpu-0-1x",
            "airlock-ffffff-gpu-0-1",
            "airlock-0f3c5a",
            "postgres-0",
        ] {
            assert_eq!(PodName::parse(other, "0f3c5a77"), None, "{other}");
        }
    }

    #[test]
    fn a_fleet_is_named_like_a_host() {
        for name in ["gpu", "a", "big-memory-2", &"x".repeat(30)] {
            name.parse::<FleetName>().unwrap();
        }
        for name in ["", "GPU", "a_b", "-a", "a-", "a.b", &"x".repeat(31)] {
            assert!(name.parse::<FleetName>().unwrap_err().contains("can't name a fleet"), "{name}");
        }
    }

    #[test]
    fn faults_are_told_as_what_the_pod_did() {
        let limit = Some("256Mi".to_owned());
        for (fault, told) in [
            (Fault::OomKilled { limit }, "was OOM-killed (limit 256Mi)"),
            (Fault::Evicted("the node was low on memory".into()), "was evicted: the node was low on memory"),
            (Fault::Exited { code: 1, why: String::new() }, "ended with code 1"),
            (
                Fault::Image { image: "x".into(), why: "not found".into() },
                "can't start: its image `x` can't be pulled: not found",
            ),
        ] {
            assert_eq!(fault.to_string(), told);
        }
    }
}
