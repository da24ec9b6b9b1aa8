//! Addresses and credentials of outside systems. Airflow: Connections.
//!
//! Most tasks never need what a connection holds: a dag with `#[dag(connections = ["warehouse"])]` may send HTTP requests to
//! `http://warehouse.connection.internal/`, and the host adds the credentials; see [`http`](crate::http). A dag that must read
//! the secrets says so: `#[dag(connection_secrets = ["warehouse"])]`.
//!
//! ```
//! # use airlock_sdk::prelude::*;
//! use airlock_sdk::connections::Connection;
//!
//! #[task]
//! fn address() -> Result<String> {
//!     let warehouse = connections::get("warehouse")?;
//!     Ok(format!("{}:{}", warehouse.host.unwrap_or_default(), warehouse.port.unwrap_or(5432)))
//! }
//! let warehouse = Connection { host: Some("db.example.org".into()), ..Connection::new("warehouse", "postgres") };
//! let host = airlock_sdk::testing::Host::new().connection(warehouse);
//! assert_eq!(host.run(|_| address::run()).unwrap(), "db.example.org:5432");
//! ```

use std::fmt;

use serde::de::DeserializeOwned;

use crate::{
    error::{HostError, Result, found},
    host,
    value::from_json,
};

/// All that is known of a connection. Its `Debug` form leaves the secrets out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// Its id.
    pub id: String,
    /// What sort of system it leads to, as `postgres`.
    pub conn_type: String,
    /// The system's host name.
    pub host: Option<String>,
    /// The database or scheme, as the system calls it.
    pub schema: Option<String>,
    /// The user's name.
    pub login: Option<String>,
    /// The user's password: a secret.
    pub password: Option<String>,
    /// The system's port.
    pub port: Option<u16>,
    /// A JSON object of further settings, which may be secret.
    pub extra: Option<String>,
}

impl Connection {
    /// A connection with nothing but an id and a type.
    pub fn new(id: impl Into<String>, conn_type: impl Into<String>) -> Self {
        Self { id: id.into(), conn_type: conn_type.into(), ..Self::default() }
    }

    /// The further settings as a `T`; a connection without any has `{}`.
    ///
    /// # Errors
    /// If they are not a `T`.
    pub fn extra<T: DeserializeOwned>(&self) -> Result<T> {
        from_json(self.extra.as_deref().unwrap_or("{}"), || format!("extra of connection `{}`", self.id))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("conn_type", &self.conn_type)
            .field("host", &self.host)
            .field("schema", &self.schema)
            .field("login", &self.login)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Connection `id`, with its secrets.
///
/// # Errors
/// [`HostError::Denied`] without the grant; [`HostError::NotFound`] if there is no such connection.
pub fn get(id: &str) -> Result<Connection, HostError> {
    host::connection_get(id)
}

/// As [`get`], with `None` if there is no such connection.
///
/// # Errors
/// [`HostError::Denied`] without the grant.
pub fn find(id: &str) -> Result<Option<Connection>, HostError> {
    found(get(id))
}
