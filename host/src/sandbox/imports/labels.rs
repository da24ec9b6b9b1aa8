//! `airlock:task/labels`.

use wasmtime::Result;

use super::answer;
use crate::{
    sandbox::{
        bindings::airlock::task::{labels, types::Error},
        guest::Guest,
    },
    wire::{Call, Reply},
};

impl labels::Host for Guest {
    async fn set(&mut self, label: String) -> Result<Result<(), Error>> {
        answer!(self.attempt.call(Call::LabelSet { label }).await, Reply::Unit => ())
    }
}
