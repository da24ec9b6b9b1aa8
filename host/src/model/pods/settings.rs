//! The file of the setting `kubernetes.fleets`.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::FleetName;
use crate::model::ids::QueueName;

/// Pods of a fleet.
const MAX_PODS: u32 = 1_000;
const MAX_FLEETS: usize = 100;
const MAX_SLOTS: u32 = 100_000;
/// Longest time that a setting may name, in seconds: a day.
const MAX_SECONDS: u64 = 86_400;

/// What fleets there are, and what all of them share.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleets {
    /// Where pods reach the servers.
    pub server: String,
    /// None: that of this process.
    pub namespace: Option<String>,
    /// The Secret that holds `workers.token`.
    pub token: SecretKey,
    pub creations: Rate,
    pub fleets: BTreeMap<FleetName, Fleet>,
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretKey {
    pub name: String,
    pub key: String,
}

impl Default for SecretKey {
    fn default() -> Self {
        Self { name: "airlock".into(), key: "workers-token".into() }
    }
}

/// How many pods may be created, in all fleets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub per_second: NonZeroU32,
    /// At once, after a time without any.
    pub burst: NonZeroU32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: NonZeroU32::MIN.saturating_add(4), burst: NonZeroU32::MIN.saturating_add(19) }
    }
}

/// Pods of one kind, which serve one queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    pub queue: QueueName,
    /// None: that of this process, if it is a pod itself.
    pub image: Option<String>,
    pub min: u32,
    pub max: u32,
    /// Attempts that a pod runs at a time.
    pub slots: u32,
    /// After how many attempts a pod leaves; none: when it is idle.
    pub attempts: Option<NonZeroU32>,
    /// How long a pod that runs nothing stays.
    pub idle: Duration,
    /// How long a pod may take until its worker is here.
    pub start: Duration,
    /// How long a pod that has ended stays to be looked at.
    pub keep: Duration,
    /// As `resources` of a container.
    pub resources: Option<Value>,
    pub node_selector: BTreeMap<String, String>,
    pub service_account: Option<String>,
    /// `metadata` and `spec` of pods, for all else.
    pub template: Map<String, Value>,
}

impl Fleet {
    /// One that the settings name no more, and of which there still are pods.
    pub fn gone() -> Self {
        Self {
            queue: QueueName::default(),
            image: None,
            min: 0,
            max: 0,
            slots: 1,
            attempts: None,
            idle: Duration::ZERO,
            start: Duration::ZERO,
            keep: Duration::ZERO,
            resources: None,
            node_selector: BTreeMap::new(),
            service_account: None,
            template: Map::new(),
        }
    }

    /// The slots that a pod has at its start.
    pub fn slots_of_new(&self) -> u32 {
        self.attempts.map_or(self.slots, |attempts| self.slots.min(attempts.get()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: String,
    namespace: Option<String>,
    image: Option<String>,
    #[serde(default)]
    token: SecretKey,
    #[serde(default)]
    creations: Rate,
    fleets: BTreeMap<String, FileFleet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileFleet {
    queue: Option<QueueName>,
    image: Option<String>,
    #[serde(default)]
    min: u32,
    max: u32,
    #[serde(default = "one")]
    slots: u32,
    attempts: Option<NonZeroU32>,
    #[serde(default = "a_minute")]
    idle_seconds: u64,
    #[serde(default = "five_minutes")]
    start_seconds: u64,
    #[serde(default = "five_minutes")]
    keep_seconds: u64,
    resources: Option<Value>,
    #[serde(default)]
    node_selector: BTreeMap<String, String>,
    service_account: Option<String>,
    #[serde(default)]
    template: Map<String, Value>,
}

fn one() -> u32 {
    1
}

fn a_minute() -> u64 {
    60
}

fn five_minutes() -> u64 {
    300
}

impl Fleets {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
        let file: File = serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
        let File { server, namespace, image, token, creations, fleets } = file;
        if !["http://", "https://"].iter().any(|scheme| server.starts_with(scheme)) {
            return Err(format!(
                "`server` can't be `{server}`: write where pods reach the servers, as `http://airlock`"
            ));
        }
        if fleets.is_empty() || fleets.len() > MAX_FLEETS {
            return Err(format!("`fleets` names 1 to {MAX_FLEETS} fleets"));
        }
        let fleets = fleets.into_iter().map(|(name, fleet)| {
            let name: FleetName = name.parse()?;
            let fleet = fleet.check(&name, image.as_deref()).map_err(|why| format!("fleet `{name}`: {why}"))?;
            Ok((name, fleet))
        });
        let fleets: BTreeMap<_, _> = fleets.collect::<Result<_, String>>()?;
        let mut queues = BTreeSet::new();
        for (name, fleet) in &fleets {
            if !queues.insert(&fleet.queue) {
                return Err(format!("fleet `{name}`: another one serves its queue `{}`; name another", fleet.queue));
            }
        }
        Ok(Self { server, namespace, token, creations, fleets })
    }
}

impl FileFleet {
    fn check(self, name: &FleetName, image: Option<&str>) -> Result<Fleet, String> {
        let within = |key: &str, value: u64, least: u64, most: u64| {
            let fits = (least..=most).contains(&value);
            fits.then_some(value).ok_or_else(|| format!("`{key}` is {value}; it takes {least} to {most}"))
        };
        within("max", self.max.into(), 1, MAX_PODS.into())?;
        within("min", self.min.into(), 0, self.max.into())?;
        within("slots", self.slots.into(), 1, MAX_SLOTS.into())?;
        let seconds = |key, value, least| within(key, value, least, MAX_SECONDS).map(Duration::from_secs);
        if let Some(wrong) = self.template.keys().find(|key| !["metadata", "spec"].contains(&key.as_str())) {
            return Err(format!("`template` has `metadata` and `spec`, as a pod has them, and not `{wrong}`"));
        }
        if let Some((key, _)) = self.template.iter().find(|(_, value)| !value.is_object()) {
            return Err(format!("`template.{key}` is not a map"));
        }
        if self.resources.as_ref().is_some_and(|resources| !resources.is_object()) {
            return Err("`resources` is not a map, as `{limits: {memory: 1Gi}}`".into());
        }
        Ok(Fleet {
            queue: match self.queue {
                Some(queue) => queue,
                None => QueueName::new(name.as_str()).map_err(|error| error.to_string())?,
            },
            image: self.image.or_else(|| image.map(str::to_owned)),
            min: self.min,
            max: self.max,
            slots: self.slots,
            attempts: self.attempts,
            idle: seconds("idle_seconds", self.idle_seconds, 0)?,
            start: seconds("start_seconds", self.start_seconds, 1)?,
            keep: seconds("keep_seconds", self.keep_seconds, 0)?,
            resources: self.resources,
            node_selector: self.node_selector,
            service_account: self.service_account,
            template: self.template,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_is_asked_of_it_and_leaves_the_rest_to_us() {
        let text = "
server: http://airlock
image: airlock:1
fleets:
  gpu:
    queue: models
    image: airlock-gpu:1
    min: 1
    max: 4
    attempts: 1
    idle_seconds: 0
    resources: {limits: {memory: 256Mi, cpu: 2}}
    node_selector: {accelerator: a100}
    service_account: models
    template: {spec: {tolerations: [{key: gpu}]}}
  small: {max: 10, slots: 8}
";
        let fleets = Fleets::parse(text).unwrap();
        assert_eq!((fleets.token, fleets.creations.per_second.get()), (SecretKey::default(), 5));
        let [(_, gpu), (_, small)] = Vec::from_iter(&fleets.fleets)[..] else { panic!("two fleets") };
        assert_eq!((gpu.queue.as_str(), small.queue.as_str()), ("models", "small"));
        assert_eq!((gpu.image.as_deref(), small.image.as_deref()), (Some("airlock-gpu:1"), Some("airlock:1")));
        assert_eq!((gpu.min, gpu.max, gpu.slots_of_new(), small.slots_of_new()), (1, 4, 1, 8));
        assert_eq!(
            (gpu.idle, small.idle, small.start),
            (Duration::ZERO, Duration::from_mins(1), Duration::from_mins(5))
        );
        assert_eq!(gpu.resources.as_ref().unwrap()["limits"]["cpu"], 2);
    }

    #[test]
    fn the_files_of_the_docs_are_such_files() {
        let page = include_str!("../../../../docs/kubernetes.md");
        let of_page = page.split("```yaml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        for text in [of_page, include_str!("../../../../docs/deploy/kubernetes-fleets/fleets.yaml")] {
            assert_eq!(Fleets::parse(text).unwrap().fleets.len(), 2, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, named) in [
            ("", "unexpected end of input"),
            ("fleets: {a: {max: 1}}", "server"),
            ("server: airlock\nfleets: {a: {max: 1}}", "`server` can't be `airlock`"),
            ("server: http://a\nfleets: {}", "`fleets` names 1 to"),
            ("server: http://a\nfleets: {A: {max: 1}}", "`A` can't name a fleet"),
            ("server: http://a\nfleets: {a: {}}", "max"),
            ("server: http://a\nfleets: {a: {max: 0}}", "fleet `a`: `max` is 0; it takes 1 to 1000"),
            ("server: http://a\nfleets: {a: {max: 2, min: 3}}", "`min` is 3; it takes 0 to 2"),
            ("server: http://a\nfleets: {a: {max: 2, slot: 3}}", "slot"),
            ("server: http://a\nfleets: {a: {max: 2, queue: 'a b'}}", "queue name `a b`"),
            ("server: http://a\nfleets: {a: {max: 1, queue: q}, b: {max: 1, queue: q}}", "fleet `b`: another one"),
            ("server: http://a\nfleets: {a: {max: 1, template: {containers: []}}}", "and not `containers`"),
            ("server: http://a\nfleets: {a: {max: 1, template: {spec: []}}}", "`template.spec` is not a map"),
            ("server: http://a\nfleets: {a: {max: 1, start_seconds: 0}}", "`start_seconds` is 0"),
        ] {
            let error = Fleets::parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
