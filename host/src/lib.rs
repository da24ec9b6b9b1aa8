//! Airlock's host: see ARCHITECTURE.md for the map of its rooms. Each imports only rooms above it in this list.

pub mod model;

pub mod engine;
pub mod store;
pub mod telemetry;

pub mod blobs;
pub mod secrets;
pub mod wire;

pub mod backup;

pub mod sandbox;

pub mod vault;

pub mod connections;

pub mod databases;

pub mod executor;
pub mod notifier;

pub mod scheduler;

pub mod pods;

pub mod auth;

pub mod api;
pub mod ui;

pub mod cli;
