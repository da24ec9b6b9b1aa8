//! The words of Airlock as types, and the rules that need nothing but values: no I/O, no clock, no randomness.
//!
//! A dag arrives as a [`spec::DagSpec`] (plain data), is checked once, and is a [`dag::Dag`] from then on.

pub mod agreement;
pub mod approval;
pub mod asset;
pub mod backfill;
pub mod build;
pub mod callback;
pub mod causes;
pub mod cron;
pub mod dag;
pub mod dag_access;
pub mod dag_numbers;
pub mod dag_warning;
pub mod days;
pub mod denials;
pub mod expand;
pub mod grants;
pub mod ids;
pub mod limits;
pub mod media_type;
pub mod pods;
pub mod provenance;
pub mod proxies;
pub mod queue;
pub mod recording;
pub mod retention;
pub mod retry;
pub mod role;
pub mod schema;
pub mod shares;
pub mod sign_in;
pub mod signers;
pub mod spec;
pub mod sql;
pub mod state;
pub mod template;
pub mod time;
pub mod timetable;
pub mod traffic;
pub mod trigger_rule;
pub mod wait;
pub mod warning;
pub mod yaml;
