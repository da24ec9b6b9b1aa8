//! `airlock:task/log`.

use wasmtime::Result;

use crate::{
    sandbox::{
        bindings::airlock::task::log::{self, Level},
        guest::Guest,
    },
    wire,
};

impl log::Host for Guest {
    async fn emit(
        &mut self,
        level: Level,
        target: String,
        message: String,
        fields: Vec<(String, String)>,
    ) -> Result<()> {
        let level = match level {
            Level::Trace => wire::Level::Trace,
            Level::Debug => wire::Level::Debug,
            Level::Info => wire::Level::Info,
            Level::Warn => wire::Level::Warn,
            Level::Error => wire::Level::Error,
        };
        self.attempt.log().add(level, wire::LineSource::Log, target, message, fields);
        self.attempt.lines_added().await;
        Ok(())
    }

    async fn enabled(&mut self) -> Result<Level> {
        Ok(Level::Trace)
    }
}
