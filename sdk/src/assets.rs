//! Assets: what tasks make and other dags run after.
//!
//! ```
//! use airlock_sdk::prelude::*;
//!
//! const ORDERS: Asset = Asset::new("orders").uri("s3://shop/orders");
//! const CUSTOMERS: Asset = Asset::new("s3://shop/customers");
//!
//! #[task]
//! fn load() -> Result<()> {
//!     // The event carries it to those who run after this.
//!     assets::set_extra(ORDERS, &serde_json::json!({"rows": 3}))
//! }
//!
//! #[dag(schedule = "@hourly")]
//! fn loading(dag: &Dag) {
//!     load(dag).outlet(ORDERS);
//! }
//!
//! #[task]
//! fn report() -> Result<Vec<String>> {
//!     let events = assets::triggering()?;
//!     Ok(events.into_iter().map(|event| event.asset).collect())
//! }
//!
//! /// Runs when both were updated since it ran last, and once a day anyway.
//! #[dag(assets = ORDERS & CUSTOMERS, schedule = "@daily")]
//! fn reporting(dag: &Dag) {
//!     report(dag);
//! }
//! # use airlock_sdk::{serde_json, testing::Host};
//! # let host = Host::new();
//! # assert!(host.run_dag::<loading>().unwrap().succeeded());
//! # assert_eq!(host.asset_extra("orders").unwrap()["rows"], 3);
//! # let run = Host::new().asset_event("orders", serde_json::json!({})).run_dag::<reporting>().unwrap();
//! # assert_eq!(run.result::<Vec<String>>("report").unwrap(), ["orders"]);
//! ```

use std::{
    ops::{BitAnd, BitOr},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::{
    context::Context,
    error::{Awaited, Error, Fatal, HostError, Later, Result},
    host,
    value::from_json,
};

/// Data that dags agree on by its name. Airflow: `Asset`.
///
/// `&` and `|` make conditions of assets, for `#[dag(assets = ..)]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    pub(crate) name: &'static str,
    pub(crate) uri: Option<&'static str>,
    pub(crate) group: &'static str,
    pub(crate) extra: Option<&'static str>,
    pub(crate) is_alias: bool,
}

impl Asset {
    /// The asset of this name. Its uri is the same, unless it is given another.
    pub const fn new(name: &'static str) -> Self {
        Self { name, uri: None, group: "asset", extra: None, is_alias: false }
    }

    /// A name for assets that are known only when the task runs, which says by [`add`] which it updated. As an outlet it makes no
    /// event by itself; dags that run after it run for each asset that was updated through it. Airflow: `AssetAlias`.
    pub const fn alias(name: &'static str) -> Self {
        Self { group: "alias", is_alias: true, ..Self::new(name) }
    }

    /// Where the data is, for people: Airlock never opens it.
    #[must_use]
    pub const fn uri(self, uri: &'static str) -> Self {
        Self { uri: Some(uri), ..self }
    }

    /// What sort of thing it is; `asset`, if nothing is said.
    #[must_use]
    pub const fn group(self, group: &'static str) -> Self {
        Self { group, ..self }
    }

    /// What else is known of it: a JSON object.
    #[must_use]
    pub const fn extra(self, json: &'static str) -> Self {
        Self { extra: Some(json), ..self }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl AsRef<str> for Asset {
    fn as_ref(&self) -> &str {
        self.name
    }
}

/// Which assets a dag runs after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssetCondition {
    /// This one.
    Asset(Asset),
    /// All of these. Airflow: `&`, a list.
    All(Vec<Self>),
    /// One of these. Airflow: `|`.
    Any(Vec<Self>),
}

impl AssetCondition {
    /// The assets in it, in the order in which they are written.
    pub(crate) fn assets(&self, found: &mut Vec<Asset>) {
        match self {
            Self::Asset(asset) => found.push(*asset),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.assets(found)),
        }
    }
}

impl From<Asset> for AssetCondition {
    fn from(asset: Asset) -> Self {
        Self::Asset(asset)
    }
}

macro_rules! join {
    ($trait:ident, $method:ident, $variant:ident: $($type:ty),*) => { $(
        impl<T: Into<AssetCondition>> $trait<T> for $type {
            type Output = AssetCondition;

            fn $method(self, other: T) -> AssetCondition {
                let mut parts = match self.into() {
                    AssetCondition::$variant(parts) => parts,
                    other => vec![other],
                };
                parts.push(other.into());
                AssetCondition::$variant(parts)
            }
        }
    )* };
}

join!(BitAnd, bitand, All: Asset, AssetCondition);
join!(BitOr, bitor, Any: Asset, AssetCondition);

/// An asset was updated.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetEvent {
    /// The asset's name.
    pub asset: String,
    /// The asset's uri.
    pub uri: String,
    /// When.
    pub timestamp: DateTime<Utc>,
    /// What the task that made it said about it.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// The task instance that made it; none: somebody did by hand.
    pub source: Option<EventSource>,
}

/// The task instance that updated an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSource {
    /// Its dag.
    pub dag_id: String,
    /// Its run.
    pub run_id: String,
    /// Its task.
    pub task_id: String,
    /// Its place, if the task is mapped.
    pub map_index: Option<u32>,
}

/// An event as the host tells it.
pub(crate) struct RawEvent {
    pub asset: String,
    pub uri: String,
    pub timestamp: DateTime<Utc>,
    pub extra: String,
    pub source: Option<EventSource>,
}

/// Says what the event of outlet `asset` is to carry; it is made when the attempt succeeds. Replaces what was said before.
///
/// # Errors
/// [`HostError::Denied`] if the asset is no outlet of the task; [`HostError::Invalid`] if `extra` is no JSON object or is larger
/// than 64 KiB.
pub fn set_extra(asset: impl AsRef<str>, extra: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(extra).map_err(|error| HostError::Invalid(error.to_string()))?;
    Ok(host::asset_set_extra(asset.as_ref(), &json)?)
}

/// An asset that is named when a task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedAsset {
    pub(crate) name: String,
    pub(crate) uri: String,
    pub(crate) group: String,
}

impl From<Asset> for NamedAsset {
    fn from(asset: Asset) -> Self {
        let uri = asset.uri.unwrap_or(asset.name).to_owned();
        Self { name: asset.name.to_owned(), uri, group: asset.group.to_owned() }
    }
}

/// The asset of this name, with the same uri.
impl From<&str> for NamedAsset {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), uri: name.to_owned(), group: "asset".to_owned() }
    }
}

impl From<String> for NamedAsset {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

/// Says that the task updates `asset` through the outlet `alias`; its event, which carries `extra`, is made when the attempt
/// succeeds. The same asset again replaces what was said before. Airflow: `outlet_events[alias].add(asset, extra=..)`.
///
/// ```
/// use airlock_sdk::{prelude::*, serde_json::json};
///
/// const TABLES: Asset = Asset::alias("tables");
///
/// #[task]
/// fn load(day: &str) -> Result<()> {
///     assets::add(TABLES, format!("s3://shop/{day}"), &json!({"rows": 3}))
/// }
///
/// #[dag]
/// fn loading(dag: &Dag) {
///     load(dag, "monday").outlet(TABLES);
/// }
///
/// #[task]
/// fn check() {}
///
/// /// Runs for whatever was updated through the alias.
/// #[dag(assets = TABLES)]
/// fn checking(dag: &Dag) {
///     check(dag);
/// }
/// # let host = airlock_sdk::testing::Host::new();
/// # assert!(host.run_dag::<loading>().unwrap().succeeded());
/// # assert_eq!(host.added_asset("tables", "s3://shop/monday").unwrap()["rows"], 3);
/// ```
///
/// # Errors
/// [`HostError::Denied`] if `alias` is no alias among the task's outlets; [`HostError::Invalid`] if the asset can't be, `extra` is no
/// JSON object or larger than 64 KiB, or the dag itself runs after the asset; [`HostError::TooLarge`] if they are more than 1,000.
pub fn add(alias: impl AsRef<str>, asset: impl Into<NamedAsset>, extra: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(extra).map_err(|error| HostError::Invalid(error.to_string()))?;
    Ok(host::asset_add(alias.as_ref(), asset.into(), &json)?)
}

/// The events that this run was made for, as they were made; none if it was not made for assets.
///
/// # Errors
/// [`HostError::TooLarge`] if there are more than 10,000.
pub fn triggering() -> Result<Vec<AssetEvent>> {
    read(host::asset_triggering()?)
}

/// The newest events of inlet `asset`, newest first; at most `limit` and at most 1,000.
///
/// # Errors
/// [`HostError::Denied`] if the asset is no inlet of the task.
pub fn events(asset: impl AsRef<str>, limit: u32) -> Result<Vec<AssetEvent>> {
    read(host::asset_events(asset.as_ref(), limit)?)
}

/// The first event of inlet `asset` since the task's try was started: until there is one the task waits, `timeout` at most,
/// and is started again when it comes. Of several that came meanwhile, the newest.
///
/// # Errors
/// [`Later`] if there is none yet, to be handed on with `?`; [`Fatal`] after the timeout; as [`events`].
pub fn next(asset: impl AsRef<str>, ctx: &Context, timeout: Duration) -> Result<AssetEvent> {
    #[expect(clippy::disallowed_methods, reason = "tasks have no clock but WASI's")]
    next_at(asset.as_ref(), ctx, timeout, Utc::now())
}

fn next_at(asset: &str, ctx: &Context, timeout: Duration, now: DateTime<Utc>) -> Result<AssetEvent> {
    let since = ctx.started_at();
    if let Some(event) = events(asset, 1)?.into_iter().find(|event| event.timestamp > since) {
        return Ok(event);
    }
    let until = since.checked_add_signed(TimeDelta::from_std(timeout).unwrap_or(TimeDelta::MAX));
    let until = until.unwrap_or(DateTime::<Utc>::MAX_UTC);
    if now < until {
        return Err(Later::on(Awaited::Asset { asset: asset.to_owned(), since }, until).into());
    }
    let waited = timeout.as_secs_f64();
    Err(Fatal::new(format!("asset `{asset}` was not updated within {waited} s")).into())
}

fn read(events: Vec<RawEvent>) -> Result<Vec<AssetEvent>> {
    let event = |raw: RawEvent| {
        let extra = from_json(&raw.extra, || format!("the extra of an event of asset `{}`", raw.asset))?;
        Ok::<_, Error>(AssetEvent {
            asset: raw.asset,
            uri: raw.uri,
            timestamp: raw.timestamp,
            extra,
            source: raw.source,
        })
    };
    events.into_iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_waited_for_until_it_is_updated() {
        const A: Asset = Asset::new("a");
        let start = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let (minute, later) = (Duration::from_mins(1), |seconds| start + TimeDelta::seconds(seconds));
        let host = crate::testing::Host::new().started_at(start);
        host.run(|ctx| {
            let error = next_at(A.name, ctx, minute, later(59)).unwrap_err();
            assert_eq!(error.find::<Later>().unwrap().at, later(60));
            assert!(next_at(A.name, ctx, minute, later(60)).unwrap_err().is_fatal());
        });
        let updated = host.asset_event("a", serde_json::json!({"rows": 3}));
        assert_eq!(updated.run(|ctx| next_at(A.name, ctx, minute, later(99))).unwrap().extra["rows"], 3);
    }

    #[test]
    fn conditions_are_written_as_in_airflow() {
        const A: Asset = Asset::new("a");
        const B: Asset = Asset::new("b");
        const C: Asset = Asset::new("c");
        let one = AssetCondition::Asset;
        assert_eq!(A & B & C, AssetCondition::All(vec![one(A), one(B), one(C)]));
        assert_eq!(A & (B | C), AssetCondition::All(vec![one(A), AssetCondition::Any(vec![one(B), one(C)])]));
        assert_eq!(A | B & C, AssetCondition::Any(vec![one(A), AssetCondition::All(vec![one(B), one(C)])]));
    }
}
