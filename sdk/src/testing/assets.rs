//! Assets, as a test says that they were updated.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Host, host::with};
use crate::{
    assets::{NamedAsset, RawEvent},
    error::HostError,
};

type Result<T> = std::result::Result<T, HostError>;

/// The assets of the test.
#[derive(Debug, Default)]
pub(super) struct Assets {
    /// What the run was made for: assets and their extras.
    events: Vec<(String, serde_json::Value)>,
    extras: BTreeMap<String, String>,
    /// By alias and asset.
    added: BTreeMap<(String, String), String>,
}

impl Host {
    /// Says that the run was made for an event of `asset` that carries `extra`, a JSON object. It is later than all else.
    pub fn asset_event(self, asset: impl Into<String>, extra: serde_json::Value) -> Self {
        self.with(|state| state.assets.events.push((asset.into(), extra)))
    }

    /// What a task said that the event of its outlet `asset` is to carry.
    pub fn asset_extra(&self, asset: &str) -> Option<serde_json::Value> {
        self.state.borrow().assets.extras.get(asset).and_then(|extra| serde_json::from_str(extra).ok())
    }
}

impl Host {
    /// What the event of `asset` is to carry that a task updated through `alias`; none: it did not.
    pub fn added_asset(&self, alias: &str, asset: &str) -> Option<serde_json::Value> {
        let key = (alias.to_owned(), asset.to_owned());
        self.state.borrow().assets.added.get(&key).and_then(|extra| serde_json::from_str(extra).ok())
    }
}

pub fn asset_add(alias: &str, asset: NamedAsset, extra: &str) -> Result<()> {
    with(alias, |state| {
        let name = asset.name;
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(extra)
            .map_err(|error| HostError::Invalid(format!("asset `{name}`: its extra is not a JSON object: {error}")))?;
        state.assets.added.insert((alias.to_owned(), name), extra.to_owned());
        Ok(())
    })
}

pub fn asset_set_extra(asset: &str, extra: &str) -> Result<()> {
    with(asset, |state| {
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(extra)
            .map_err(|error| HostError::Invalid(format!("asset `{asset}`: its extra is not a JSON object: {error}")))?;
        state.assets.extras.insert(asset.to_owned(), extra.to_owned());
        Ok(())
    })
}

fn raw((asset, extra): &(String, serde_json::Value)) -> RawEvent {
    let (uri, timestamp) = (asset.clone(), DateTime::<Utc>::MAX_UTC);
    RawEvent { asset: asset.clone(), uri, timestamp, extra: extra.to_string(), source: None }
}

pub fn asset_triggering() -> Result<Vec<RawEvent>> {
    with("the events of the run", |state| Ok(state.assets.events.iter().map(raw).collect()))
}

pub fn asset_events(asset: &str, limit: u32) -> Result<Vec<RawEvent>> {
    with(asset, |state| {
        let of_asset = state.assets.events.iter().rev().filter(|(name, _)| name == asset);
        Ok(of_asset.take(limit as usize).map(raw).collect())
    })
}
