//! `airlock:task/xcom`.

use wasmtime::Result;

use super::answer;
use crate::{
    model::time::Timestamp,
    sandbox::{
        bindings::airlock::task::{
            types::{Error, Value},
            xcom::{self, RunValue, Source},
        },
        guest::Guest,
    },
    wire::{Call, Reply},
};

impl xcom::Host for Guest {
    async fn push(&mut self, key: String, value: Value) -> Result<Result<(), Error>> {
        answer!(self.attempt.call(Call::XComPush { key, value: value.into() }).await, Reply::Unit => ())
    }

    async fn pull(&mut self, source: Source) -> Result<Result<Value, Error>> {
        let call = Call::XComPull { task_id: source.task_id, map_index: source.map_index, key: source.key };
        answer!(self.attempt.call(call).await, Reply::Value(value) => value.into())
    }

    async fn pull_runs(
        &mut self,
        task_id: String,
        key: String,
        since: i64,
        until: i64,
    ) -> Result<Result<Vec<RunValue>, Error>> {
        let (since, until) = (Timestamp::from_micros(since), Timestamp::from_micros(until));
        let call = Call::XComPullRuns { task_id, key, since, until };
        answer!(self.attempt.call(call).await, Reply::RunValues(values) => values
            .into_iter()
            .map(|found| RunValue {
                run_id: found.run_id,
                logical_date: found.logical_date.as_micros(),
                map_index: found.map_index,
                value: found.value.into(),
            })
            .collect())
    }
}
