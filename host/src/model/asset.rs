//! Assets: what tasks make and other dags run after. Airflow: Asset.
//!
//! An asset is a name that dags agree on. A task that succeeds makes an event for each of its outlets; a dag that is
//! scheduled on assets has a run when the events that it has not consumed yet fulfil its condition.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::{
    ids::{AssetName, DagId},
    spec::{AssetConditionSpec, AssetSpec, DagSpec},
};

/// Assets that a dag may declare.
pub const MAX_ASSETS: usize = 1_000;
/// Parts of a condition, assets included.
pub const MAX_PARTS: usize = 1_000;
/// How deep conditions may stand in each other: what is stored of a dag is JSON, which may not nest for ever.
pub const MAX_DEPTH: usize = 32;
/// The longest uri in bytes. Airflow: 1,500.
pub const MAX_URI_BYTES: usize = 1_500;
/// What an asset or an event of one may carry, as JSON text.
pub const MAX_EXTRA_BYTES: usize = 64 << 10;

/// Which assets a dag waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetCondition {
    Asset(AssetName),
    /// Airflow: `&`, a list.
    All(Vec<Self>),
    /// Airflow: `|`.
    Any(Vec<Self>),
}

/// An asset that a task updated through an alias. Airflow: `outlet_events[alias].add(asset)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    pub alias: AssetName,
    pub name: AssetName,
    /// Of an asset that is not there yet.
    pub uri: String,
    pub group: String,
    /// What its event carries: a JSON object.
    pub extra: String,
}

/// What is wrong with the assets of a dag: where, and why.
pub type Wrong = (String, String);

impl AssetCondition {
    /// Whether events of these assets fulfil it.
    pub fn holds(&self, updated: &BTreeSet<AssetName>) -> bool {
        match self {
            Self::Asset(name) => updated.contains(name),
            Self::All(parts) => parts.iter().all(|part| part.holds(updated)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(updated)),
        }
    }

    /// The assets that it names.
    pub fn assets(&self) -> BTreeSet<AssetName> {
        match self {
            Self::Asset(name) => BTreeSet::from([name.clone()]),
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::assets).collect(),
        }
    }

    /// # Errors
    /// If it is empty somewhere, too large or too deep, or names what is not an asset's name.
    pub fn from_spec(spec: &AssetConditionSpec) -> Result<Self, String> {
        let mut parts = 0;
        Self::build(spec, 1, &mut parts)
    }

    fn build(spec: &AssetConditionSpec, depth: usize, count: &mut usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the condition is more than {MAX_DEPTH} deep"));
        }
        *count += 1;
        if *count > MAX_PARTS {
            return Err(format!("the condition has more than {MAX_PARTS} parts"));
        }
        let mut all = |parts: &[AssetConditionSpec]| {
            if parts.is_empty() {
                return Err("a part of the condition names no asset".to_owned());
            }
            parts.iter().map(|part| Self::build(part, depth + 1, count)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match spec {
            AssetConditionSpec::Asset(name) => Self::Asset(AssetName::new(name).map_err(|error| error.to_string())?),
            AssetConditionSpec::All(parts) => Self::All(all(parts)?),
            AssetConditionSpec::Any(parts) => Self::Any(all(parts)?),
        })
    }

    /// In Airflow's JSON, as `{"all": [{"asset": {"uri": .., "name": .., "group": ..}}, {"alias": {"name": .., "group": ..}}]}`.
    ///
    /// `assets`: what the dag says of them.
    pub fn to_json(&self, assets: &[AssetSpec]) -> serde_json::Value {
        let each = |parts: &[Self]| parts.iter().map(|part| part.to_json(assets)).collect::<Vec<_>>();
        match self {
            Self::Asset(name) => match assets.iter().find(|asset| asset.name == name.as_str()) {
                Some(AssetSpec { group, is_alias: true, .. }) => {
                    serde_json::json!({ "alias": { "name": name, "group": group } })
                }
                Some(AssetSpec { uri, group, .. }) => {
                    serde_json::json!({ "asset": { "uri": uri, "name": name, "group": group } })
                }
                None => serde_json::json!({ "asset": { "name": name } }),
            },
            Self::All(parts) => serde_json::json!({ "all": each(parts) }),
            Self::Any(parts) => serde_json::json!({ "any": each(parts) }),
        }
    }
}

/// As in `orders & (customers | suppliers)`.
impl fmt::Display for AssetCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, sign) = match self {
            Self::Asset(name) => return fmt::Display::fmt(name, f),
            Self::All(parts) => (parts, " & "),
            Self::Any(parts) => (parts, " | "),
        };
        for (at, part) in parts.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { sign })?;
            match part {
                Self::Asset(name) => fmt::Display::fmt(name, f)?,
                Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
            }
        }
        Ok(())
    }
}

/// Checks what a dag says of assets; answers its condition and, for each of its tasks, its outlets.
///
/// # Errors
/// The first name, uri or extra that can't be, and the first reference to an asset that the dag does not declare.
pub fn check(spec: &DagSpec) -> Result<Option<AssetCondition>, Wrong> {
    if spec.assets.len() > MAX_ASSETS {
        return Err(("assets".into(), format!("it has {}; at most {MAX_ASSETS} are allowed", spec.assets.len())));
    }
    let mut names = BTreeSet::new();
    for asset in &spec.assets {
        let place = || format!("asset `{}`", asset.name.chars().take(80).collect::<String>());
        let name = AssetName::new(&asset.name).map_err(|error| (place(), error.to_string()))?;
        if !names.insert(name) {
            return Err((place(), "it is declared twice, in different ways".into()));
        }
        check_uri(&asset.uri).map_err(|why| (place(), why))?;
        if let Some(extra) = &asset.extra {
            check_extra(extra).map_err(|why| (place(), why))?;
        }
    }
    let declared = |name: &str, place: String| {
        if names.iter().any(|known| known.as_str() == name) {
            return Ok(());
        }
        Err((place, format!("asset `{}` is not declared by the dag", name.chars().take(80).collect::<String>())))
    };
    for node in &spec.nodes {
        for (kind, list) in [("outlets", &node.outlets), ("inlets", &node.inlets)] {
            let place = || format!("{kind} of task `{}`", node.task_id);
            let unique: BTreeSet<_> = list.iter().collect();
            if unique.len() != list.len() {
                return Err((place(), "an asset is named twice".into()));
            }
            list.iter().try_for_each(|name| declared(name, place()))?;
        }
        let aliased = |list: &'_ [String]| list.iter().find(|name| is_alias(spec, name)).cloned();
        let place = |kind: &str| format!("{kind} of task `{}`", node.task_id);
        if let Some(alias) = aliased(&node.inlets) {
            return Err((place("inlets"), format!("alias `{alias}` has no events of its own; name the asset")));
        }
        if let Some(alias) = aliased(&node.outlets).filter(|_| node.cache_ms.is_some()) {
            let why = format!("what goes through alias `{alias}` is said by each attempt; the task can't have a cache");
            return Err((place("outlets"), why));
        }
    }
    let Some(condition) = &spec.asset_schedule else { return Ok(None) };
    let condition = AssetCondition::from_spec(condition).map_err(|why| ("asset schedule".to_owned(), why))?;
    condition.assets().iter().try_for_each(|name| declared(name.as_str(), "asset schedule".into()))?;
    Ok(Some(condition))
}

fn is_alias(spec: &DagSpec, name: &str) -> bool {
    spec.assets.iter().any(|asset| asset.is_alias && asset.name == name)
}

/// # Errors
/// If it is empty, too long, or of Airflow's own scheme.
pub fn check_uri(uri: &str) -> Result<(), String> {
    if uri.is_empty() || uri.len() > MAX_URI_BYTES || uri.chars().any(char::is_control) {
        return Err(format!("its uri must have 1 to {MAX_URI_BYTES} bytes and no control characters"));
    }
    if uri.starts_with("airflow:") {
        return Err("the scheme `airflow:` is reserved; choose another uri".into());
    }
    Ok(())
}

/// # Errors
/// If it is not a JSON object, or too long.
pub fn check_extra(extra: &str) -> Result<(), String> {
    if extra.len() > MAX_EXTRA_BYTES {
        return Err(format!("its extra has {} bytes; the limit is {MAX_EXTRA_BYTES}", extra.len()));
    }
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(extra)
        .map(drop)
        .map_err(|error| format!("its extra is not a JSON object: {error}"))
}

/// What a dag makes and waits for.
#[derive(Debug, Clone)]
pub struct DagAssets {
    pub dag_id: DagId,
    pub outlets: BTreeSet<AssetName>,
    pub condition: Option<AssetCondition>,
}

impl DagAssets {
    /// What a checked spec says; of one that is not valid any more, nothing.
    pub fn of(dag_id: &DagId, spec: &DagSpec) -> Self {
        let outlets = spec.nodes.iter().flat_map(|node| &node.outlets).filter_map(|name| AssetName::new(name).ok());
        let condition = spec.asset_schedule.as_ref().and_then(|spec| AssetCondition::from_spec(spec).ok());
        Self { dag_id: dag_id.clone(), outlets: outlets.collect(), condition }
    }
}

/// Dags that would start each other for ever by what they make: the first circle through one of `changed`, as the dags in
/// it in order. A dag follows another if what that makes is enough to start it.
pub fn find_cycle(dags: &[DagAssets], changed: &BTreeSet<DagId>) -> Option<Vec<DagId>> {
    let starts = |from: &DagAssets| {
        let outlets = from.outlets.clone();
        let is_started = move |dag: &&DagAssets| dag.condition.as_ref().is_some_and(|wanted| wanted.holds(&outlets));
        dags.iter().filter(is_started).collect::<Vec<_>>()
    };
    for first in dags.iter().filter(|dag| changed.contains(&dag.dag_id) && !dag.outlets.is_empty()) {
        // Breadth first: the shortest circle is the clearest.
        let mut came_from: BTreeMap<&DagId, &DagId> = BTreeMap::new();
        let mut queue = vec![first];
        while let Some(dag) = (!queue.is_empty()).then(|| queue.remove(0)) {
            for next in starts(dag) {
                if next.dag_id == first.dag_id {
                    let mut circle = vec![dag.dag_id.clone()];
                    while let Some(before) = circle.last().and_then(|last| came_from.get(last)) {
                        circle.push((*before).clone());
                    }
                    circle.reverse();
                    return Some(circle);
                }
                if !came_from.contains_key(&next.dag_id) {
                    came_from.insert(&next.dag_id, &dag.dag_id);
                    queue.push(next);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AssetName {
        AssetName::new(text).unwrap()
    }

    fn asset(text: &str) -> AssetCondition {
        AssetCondition::Asset(name(text))
    }

    fn set(names: &[&str]) -> BTreeSet<AssetName> {
        names.iter().map(|text| name(text)).collect()
    }

    #[test]
    fn conditions_nest() {
        let either = AssetCondition::Any(vec![asset("b"), asset("c")]);
        let condition = AssetCondition::All(vec![asset("a"), either]);
        assert_eq!(condition.to_string(), "a & (b | c)");
        for (updated, holds) in
            [(&["a"][..], false), (&["b", "c"], false), (&["a", "c"], true), (&["a", "b", "c"], true)]
        {
            assert_eq!(condition.holds(&set(updated)), holds, "{updated:?}");
        }
        assert_eq!(condition.assets(), set(&["a", "b", "c"]));
        let spec = |name: &str, is_alias| AssetSpec {
            name: name.into(),
            uri: format!("s3://{name}"),
            group: "tables".into(),
            extra: None,
            is_alias,
        };
        assert_eq!(
            condition.to_json(&[spec("a", false), spec("c", true)]),
            serde_json::json!({"all": [
                {"asset": {"uri": "s3://a", "name": "a", "group": "tables"}},
                {"any": [{"asset": {"name": "b"}}, {"alias": {"name": "c", "group": "tables"}}]},
            ]})
        );
    }

    #[test]
    fn conditions_are_neither_endless_nor_bottomless() {
        let one = || AssetConditionSpec::Asset("a".into());
        let wide = AssetConditionSpec::Any((0..MAX_PARTS).map(|_| one()).collect());
        assert!(AssetCondition::from_spec(&wide).unwrap_err().contains("parts"));
        let deep = |depth| (1..depth).fold(one(), |inner, _| AssetConditionSpec::All(vec![inner]));
        assert!(AssetCondition::from_spec(&deep(MAX_DEPTH)).is_ok());
        assert!(AssetCondition::from_spec(&deep(MAX_DEPTH + 1)).unwrap_err().contains("deep"));
    }

    fn dag(id: &str, outlets: &[&str], condition: Option<AssetCondition>) -> DagAssets {
        DagAssets { dag_id: DagId::new(id).unwrap(), outlets: set(outlets), condition }
    }

    fn cycle(dags: &[DagAssets]) -> Option<Vec<String>> {
        let changed = dags.iter().map(|dag| dag.dag_id.clone()).collect();
        find_cycle(dags, &changed).map(|dags| dags.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn dags_that_start_each_other_for_ever_are_found() {
        assert_eq!(cycle(&[dag("a", &["x"], Some(asset("x")))]), Some(vec!["a".to_owned()]));
        let [a, b] = [dag("a", &["x"], Some(asset("y"))), dag("b", &["y"], Some(asset("x")))];
        assert_eq!(cycle(&[a.clone(), b]), Some(vec!["a".to_owned(), "b".to_owned()]));
        let also_outside = AssetCondition::All(vec![asset("x"), asset("outside")]);
        assert_eq!(cycle(&[a.clone(), dag("b", &["y"], Some(also_outside))]), None, "somebody else has a say");
        assert_eq!(cycle(&[a.clone(), dag("b", &["z"], Some(asset("x")))]), None);
        assert_eq!(cycle(&[dag("a", &["x"], None), dag("b", &["y"], Some(asset("x")))]), None);
    }

    #[test]
    fn an_alias_is_an_outlet_or_what_a_dag_runs_after() {
        let task = |fields: serde_json::Value| {
            spec(|spec| {
                spec["assets"][0]["is_alias"] = true.into();
                let mut node = serde_json::json!({
                    "task_id": "t", "entry": "e", "retries": 0, "retry_delay_ms": 0, "retry_backoff": 0.0,
                    "trigger_rule": "all_success", "pool": "default_pool", "pool_slots": 1, "priority_weight": 1,
                });
                node.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
                spec["nodes"] = serde_json::json!([node]);
            })
        };
        assert!(check(&task(serde_json::json!({"outlets": ["a"]}))).is_ok());
        let refused = |fields| check(&task(fields)).unwrap_err().1;
        assert!(refused(serde_json::json!({"inlets": ["a"]})).contains("alias `a` has no events of its own"));
        assert!(refused(serde_json::json!({"outlets": ["a"], "cache_ms": 1000})).contains("can't have a cache"));
    }

    #[test]
    fn a_circle_that_was_there_before_is_not_held_against_others() {
        let dags = [dag("a", &["x"], Some(asset("x"))), dag("b", &["y"], None)];
        assert_eq!(find_cycle(&dags, &BTreeSet::from([DagId::new("b").unwrap()])), None);
    }

    fn spec(change: impl FnOnce(&mut serde_json::Value)) -> DagSpec {
        let mut spec = serde_json::json!({
            "dag_id": "d", "schedule": "manual", "timezone": "UTC", "max_active_runs": 1, "max_active_tasks": 1,
            "assets": [{"name": "a", "uri": "s3://bucket/a", "group": "asset"}],
            "asset_schedule": {"asset": "a"}, "nodes": [],
        });
        change(&mut spec);
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn what_is_wrong_is_told_by_place() {
        assert_eq!(check(&spec(|_| {})).unwrap(), Some(asset("a")));
        let refused = |change: fn(&mut serde_json::Value)| {
            let (place, why) = check(&spec(change)).unwrap_err();
            format!("{place}: {why}")
        };
        assert!(
            refused(|spec| spec["asset_schedule"] = serde_json::json!({"asset": "b"})).contains("`b` is not declared")
        );
        assert!(refused(|spec| spec["asset_schedule"] = serde_json::json!({"all": []})).contains("names no asset"));
        assert!(refused(|spec| spec["assets"][0]["uri"] = "".into()).contains("its uri"));
        assert!(refused(|spec| spec["assets"][0]["uri"] = "airflow:x".into()).contains("reserved"));
        assert!(refused(|spec| spec["assets"][0]["extra"] = "[]".into()).contains("not a JSON object"));
        assert!(refused(|spec| spec["assets"][0]["name"] = "".into()).contains("is empty"));
    }
}
