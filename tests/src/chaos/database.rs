//! Reads the database past Airlock: as it is at an instant, in one statement.

use serde::{Deserialize, de::DeserializeOwned};

use super::evidence::{Chunk, Instance, Output, Run, Sample};
use crate::Database;

/// What is left when all is over.
#[derive(Debug, Deserialize)]
pub struct Remains {
    pub runs: Vec<Run>,
    pub instances: Vec<Instance>,
    pub tries: Vec<Instance>,
    pub xcoms: Vec<Output>,
    pub artifacts: Vec<Output>,
    pub chunks: Vec<Chunk>,
    /// Names and slots.
    pub pools: Vec<(String, i64)>,
    /// Runs.
    pub callbacks: Vec<(i64,)>,
    pub waits: Vec<(i64, String)>,
}

/// States of instances that hold slots.
const ACTIVE: &str = "('queued', 'running', 'restarting')";

impl Database {
    /// What is unfinished at this instant; none if the database is not there.
    pub async fn sample(&self) -> Option<Sample> {
        let active = |columns: &str, group: &str| {
            format!(
                "(SELECT {columns} AS n FROM task_instance AS i JOIN dag_run AS r ON r.key = i.dag_run \
                 WHERE i.state IN {ACTIVE} GROUP BY {group}) AS a"
            )
        };
        let mut fields = vec![
            ("pools", self.list(&["pool", "n"], &active("i.pool, sum(i.pool_slots)", "i.pool"))),
            (
                "tasks",
                self.list(&["dag_run", "dag_id", "n"], &active("i.dag_run, r.dag_id, count(*)", "i.dag_run, r.dag_id")),
            ),
            (
                "active_runs",
                self.list(
                    &["dag_id", "n"],
                    "(SELECT dag_id, count(*) AS n FROM dag_run WHERE state = 'running' GROUP BY dag_id) AS a",
                ),
            ),
            (
                "live",
                self.list(
                    &["dag_run", "task_id", "map_index", "try_number", "restarts"],
                    "task_instance WHERE state IN ('scheduled', 'queued', 'running', 'up_for_retry', 'up_for_reschedule')",
                ),
            ),
        ];
        let unfinished = "(SELECT key FROM dag_run WHERE state IN ('queued', 'running')) AS a";
        fields.push(("unfinished", self.flat("key", unfinished)));
        if matches!(self, Self::Postgres(_)) {
            fields.push(("leases", self.list(&["holder", "epoch"], "lease WHERE expires_at >= airlock_now()")));
        }
        self.read(fields).await
    }

    /// All that is left; none if the database is not there.
    pub async fn remains(&self) -> Option<Remains> {
        let digest = match self {
            Self::Postgres(_) => "encode(sha256, 'hex')",
            Self::Sqlite(_) => "lower(hex(sha256))",
        };
        let artifact = ["dag_run", "task_id", "map_index", "name", "try_number", "size_bytes", "NULL", "blob", digest];
        let chunks = "(SELECT * FROM log_chunk ORDER BY dag_run, task_id, map_index, try_number, seq) AS c";
        self.read(vec![
            ("runs", self.list(Run::COLUMNS, "dag_run")),
            ("instances", self.list(Instance::COLUMNS, "task_instance")),
            ("tries", self.list(Instance::COLUMNS, "task_instance_history")),
            ("xcoms", self.list(Output::XCOM, "xcom")),
            ("artifacts", self.list(&artifact, "artifact")),
            ("chunks", self.list(Chunk::COLUMNS, chunks)),
            ("pools", self.list(&["name", "slots"], "pool")),
            ("callbacks", self.list(&["dag_run"], "callback WHERE state = 'pending'")),
            ("waits", self.list(&["dag_run", "task_id"], "wait")),
        ])
        .await
    }

    /// How many runs are unfinished; none if the database is not there.
    pub async fn unfinished(&self) -> Option<u64> {
        let text = self.ask("SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running')".to_owned()).await?;
        text.parse().ok()
    }

    /// Its clock, in microseconds.
    pub async fn now(&self) -> Option<i64> {
        let statement = match self {
            Self::Postgres(_) => "SELECT airlock_now()",
            Self::Sqlite(_) => "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
        };
        self.ask(statement.to_owned()).await?.parse().ok()
    }

    /// A JSON array of arrays.
    fn list(&self, columns: &[&str], source: &str) -> String {
        let columns = columns.join(", ");
        match self {
            Self::Postgres(_) => {
                format!("(SELECT coalesce(json_agg(json_build_array({columns})), '[]'::json) FROM {source})")
            }
            Self::Sqlite(_) => format!("(SELECT json_group_array(json_array({columns})) FROM {source})"),
        }
    }

    /// A JSON array.
    fn flat(&self, column: &str, source: &str) -> String {
        match self {
            Self::Postgres(_) => format!("(SELECT coalesce(json_agg({column}), '[]'::json) FROM {source})"),
            Self::Sqlite(_) => format!("(SELECT json_group_array({column}) FROM {source})"),
        }
    }

    async fn read<T: DeserializeOwned>(&self, fields: Vec<(&str, String)>) -> Option<T> {
        let fields = fields.into_iter().map(|(name, list)| match self {
            Self::Postgres(_) => format!("'{name}', {list}"),
            Self::Sqlite(_) => format!("'{name}', json({list})"),
        });
        let fields = fields.collect::<Vec<_>>().join(",\n");
        let text = match self {
            Self::Postgres(_) => self.ask(format!("SELECT json_build_object({fields})")).await?,
            Self::Sqlite(_) => self.ask(format!("SELECT json_object({fields})")).await?,
        };
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in what the database answers: {text}")))
    }
}
