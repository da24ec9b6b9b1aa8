//! `airlock limits`.

use serde_json::{Value, json};

use super::{
    client::Client,
    dag_numbers::{self, Number, number},
    error::Result,
    output::Format,
};

#[derive(Debug, clap::Subcommand)]
pub enum LimitsCommand {
    /// What the attempts of a dag may have together, and what they had today; without a dag: of which dags something is said.
    Show { dag_id: Option<String> },
    /// Say what the attempts of a dag may have together. What is left out stays as it is.
    Set {
        dag_id: String,
        #[command(flatten)]
        said: Said,
    },
}

/// A number; `any`, for as much as there is; or `default`, for what the server's settings say. Days are those of UTC.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Said {
    /// Memory in MiB of the attempts that run at a time, each as much as the dag asks for, the others wait; or `any` or `default`.
    #[arg(long, value_parser = number("any"))]
    memory_mib: Option<Number>,
    /// CPU time, above it attempts fail; or `any` or `default`.
    #[arg(long, value_parser = number("any"))]
    cpu_seconds_per_day: Option<Number>,
    /// Lines of logs, what is above is dropped; or `any` or `default`.
    #[arg(long, value_parser = number("any"))]
    log_mib_per_day: Option<Number>,
    /// Artifacts and XComs, what is above is refused; or `any` or `default`.
    #[arg(long, value_parser = number("any"))]
    data_mib_per_day: Option<Number>,
    /// What is sent and received, what is above is refused; or `any` or `default`.
    #[arg(long, value_parser = number("any"))]
    network_mib_per_day: Option<Number>,
    /// Host calls, what is above is refused; or `any` or `default`.
    #[arg(long, value_parser = number("any"))]
    host_calls_per_day: Option<Number>,
}

impl LimitsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::Show { dag_id: Some(dag_id) } => show(&client.get(&["dags", &dag_id, "limits"], &[]).await?, format),
            Self::Show { dag_id: None } => format.list(
                &client.whole_list(&["limits"], "dags").await?,
                &[
                    ("dag", "/dag_id"),
                    ("memory_mib", "/own/memory_mib"),
                    ("cpu_seconds_per_day", "/own/cpu_seconds_per_day"),
                    ("log_mib_per_day", "/own/log_mib_per_day"),
                    ("data_mib_per_day", "/own/data_mib_per_day"),
                    ("network_mib_per_day", "/own/network_mib_per_day"),
                    ("host_calls_per_day", "/own/host_calls_per_day"),
                ],
            ),
            Self::Set { dag_id, said } => {
                let said = [
                    ("memory_mib", said.memory_mib),
                    ("cpu_seconds_per_day", said.cpu_seconds_per_day),
                    ("log_mib_per_day", said.log_mib_per_day),
                    ("data_mib_per_day", said.data_mib_per_day),
                    ("network_mib_per_day", said.network_mib_per_day),
                    ("host_calls_per_day", said.host_calls_per_day),
                ];
                show(&dag_numbers::put(client, &["dags", &dag_id, "limits"], said).await?, format)
            }
        }
    }
}

/// As a table: one line for each limit.
fn show(limits: &Value, format: Format) -> Result<()> {
    if format != Format::Table {
        return format.object(limits);
    }
    let used = &limits["used_today"];
    let mib = |field: &str| used[field].as_u64().map_or(Value::Null, |bytes| json!(bytes >> 20));
    let lines: Vec<_> = [
        ("memory_mib", Value::Null),
        ("cpu_seconds_per_day", used["cpu_seconds"].clone()),
        ("log_mib_per_day", mib("log_bytes")),
        ("data_mib_per_day", mib("data_bytes")),
        ("network_mib_per_day", mib("network_bytes")),
        ("host_calls_per_day", used["host_calls"].clone()),
    ]
    .into_iter()
    .map(|(field, used)| {
        let (own, effective) = (said(&limits["own"][field], "default"), said(&limits["effective"][field], "any"));
        json!({"limit": field, "own": own, "effective": effective, "used_today": used})
    })
    .collect();
    format.list(
        &lines,
        &[("limit", "/limit"), ("own", "/own"), ("effective", "/effective"), ("used_today", "/used_today")],
    )
}

fn said(limit: &Value, nothing: &str) -> Value {
    match limit.as_u64() {
        None => json!(nothing),
        Some(0) => json!("any"),
        Some(limit) => json!(limit),
    }
}
