//! `airlock:task/connections`.

use wasmtime::Result;

use super::answer;
use crate::{
    sandbox::{
        bindings::airlock::task::{
            connections::{self, Connection},
            types::Error,
        },
        guest::Guest,
    },
    wire::{Call, Reply},
};

impl connections::Host for Guest {
    async fn get(&mut self, id: String) -> Result<Result<Connection, Error>> {
        answer!(self.attempt.call(Call::ConnectionGet { id }).await, Reply::Connection(found) => Connection {
            id: found.id,
            conn_type: found.conn_type,
            host: found.host,
            schema: found.schema,
            login: found.login,
            password: found.password,
            port: found.port,
            extra: found.extra,
        })
    }
}
