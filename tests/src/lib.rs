//! What the black-box tests stand on: the real binary on an empty folder, components built as a user builds them, an S3
//! server, PostgreSQL, MariaDB, a cluster of Kubernetes in small, a browser; and all of them at once while things go wrong ([`chaos`]).
//!
//! A test waits for conditions, never for time, and leaves nothing behind: whatever it started ends when its value is
//! dropped. `cargo xtask test` builds the binary and the components first and names them in `AIRLOCK_TEST_BIN` and
//! `AIRLOCK_TEST_WASM_DIR`; without those the first test that needs them builds them.

#![expect(clippy::missing_panics_doc, reason = "a harness panics where a test fails")]

pub mod authority;
#[cfg(feature = "browser")]
pub mod browser;
pub mod build;
#[cfg(feature = "chaos")]
pub mod chaos;
pub mod cli;
#[cfg(feature = "clouds")]
pub mod cloud;
mod daemon;
#[cfg(feature = "database")]
pub mod database;
pub mod family;
pub mod http;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod mariadb;
pub mod peer;
pub mod postgres;
pub mod provider;
pub mod proxy;
#[cfg(feature = "s3")]
pub mod s3;
pub mod server;
pub mod wait;
pub mod worker;

pub use authority::Authority;
pub use cli::Shell;
#[cfg(feature = "database")]
pub use database::Database;
pub use http::{Answer, Client};
pub use mariadb::MariaDb;
pub use peer::Peer;
pub use postgres::Postgres;
pub use server::{ADMIN_PASSWORD, Server};
pub use wait::until;
pub use worker::Worker;
