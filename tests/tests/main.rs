//! One program for all of them: each would carry the browser's and the servers' libraries again.

mod approvals;
mod backfill;
mod backup;
mod cache;
mod callbacks;
mod cli;
mod connections;
mod dev;
mod events;
mod faults;
mod grants;
mod hostile;
mod keys;
mod monitoring;
mod page;
mod pipelines;
mod python;
mod replay;
mod retention;
mod rooms;
mod secrets;
mod shapes;
mod templates;
mod uploads;
mod versions;
mod yaml;
