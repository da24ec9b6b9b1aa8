//! The component that the sandbox's tests run. Empty on other targets than wasm.
//!
//! `run` does what its entry's name says; see `run.rs`. What `describe` does stands in 32 bytes of
//! data, so that a test can choose by overwriting them in the built file.
#![cfg(target_family = "wasm")]

mod bindings {
    #![expect(
        unsafe_code,
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    wit_bindgen::generate!({ path: "../../wit", world: "airlock:task/task" });
    use super::Guests;
    export!(Guests with_types_in self);
}

mod describe;
mod http;
mod run;

use bindings::exports::airlock::task::runner::{Failure, Guest, Input, Instance, Module, Outcome};

struct Guests;

impl Guest for Guests {
    fn describe() -> Result<Module, String> {
        describe::describe()
    }

    fn run(entry: String, instance: Instance, inputs: Vec<Input>) -> Result<Outcome, Failure> {
        run::run(&entry, &instance, inputs)
    }
}
