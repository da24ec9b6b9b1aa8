//! `airlock:task/variables`.

use wasmtime::Result;

use super::answer;
use crate::{
    sandbox::{
        bindings::airlock::task::{types::Error, variables},
        guest::Guest,
    },
    wire::{Call, Reply},
};

impl variables::Host for Guest {
    async fn get(&mut self, key: String) -> Result<Result<String, Error>> {
        answer!(self.attempt.call(Call::VariableGet { key }).await, Reply::Text(text) => text)
    }
}
