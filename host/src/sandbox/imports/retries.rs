//! `airlock:task/retries`.

use wasmtime::Result;

use super::answer;
use crate::{
    sandbox::{
        bindings::airlock::task::{retries, types::Error},
        guest::Guest,
    },
    wire::{Call, Reply},
};

impl retries::Host for Guest {
    async fn set_delay(&mut self, delay_ms: u64) -> Result<Result<(), Error>> {
        answer!(self.attempt.call(Call::RetryDelaySet { delay_ms }).await, Reply::Unit => ())
    }
}
