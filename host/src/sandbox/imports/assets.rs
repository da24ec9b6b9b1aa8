//! `airlock:task/assets`.

use wasmtime::Result;

use super::answer;
use crate::{
    model::ids::AssetName,
    sandbox::{
        bindings::airlock::task::{
            assets::{self, AssetEvent, EventSource, NamedAsset},
            types::Error,
        },
        guest::Guest,
    },
    wire::{self, Call, Reply},
};

impl assets::Host for Guest {
    async fn set_extra(&mut self, asset: String, extra: String) -> Result<Result<(), Error>> {
        let asset = match AssetName::new(&asset) {
            Ok(asset) => asset,
            Err(error) => return Ok(Err(Error::Invalid(error.to_string()))),
        };
        answer!(self.attempt.call(Call::AssetSetExtra { asset, extra }).await, Reply::Unit => ())
    }

    async fn add(&mut self, alias: String, asset: NamedAsset, extra: String) -> Result<Result<(), Error>> {
        let NamedAsset { name, uri, group } = asset;
        let (alias, name) = match (AssetName::new(&alias), AssetName::new(&name)) {
            (Ok(alias), Ok(name)) => (alias, name),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(Error::Invalid(error.to_string()))),
        };
        answer!(self.attempt.call(Call::AssetAdd { alias, name, uri, group, extra }).await, Reply::Unit => ())
    }

    async fn triggering(&mut self) -> Result<Result<Vec<AssetEvent>, Error>> {
        answer!(self.attempt.call(Call::AssetTriggering).await, Reply::AssetEvents(events) => all(events))
    }

    async fn events(&mut self, asset: String, limit: u32) -> Result<Result<Vec<AssetEvent>, Error>> {
        let asset = match AssetName::new(&asset) {
            Ok(asset) => asset,
            Err(error) => return Ok(Err(Error::Invalid(error.to_string()))),
        };
        answer!(self.attempt.call(Call::AssetEvents { asset, limit }).await, Reply::AssetEvents(events) => all(events))
    }
}

fn all(events: Vec<wire::AssetEvent>) -> Vec<AssetEvent> {
    events.into_iter().map(Into::into).collect()
}

impl From<wire::AssetEvent> for AssetEvent {
    fn from(event: wire::AssetEvent) -> Self {
        Self {
            asset: event.asset.to_string(),
            uri: event.uri,
            timestamp: event.timestamp.as_micros(),
            extra: event.extra,
            source: event.source.map(|(dag_id, run_id, task_id, map_index)| EventSource {
                dag_id: dag_id.to_string(),
                run_id: run_id.to_string(),
                task_id: task_id.to_string(),
                map_index,
            }),
        }
    }
}
