//! `airlock limits`.

use serde_json::{Value, json};

use super::{client::Client, error::Result, output::Format};

#[derive(Debug, clap::Subcommand)]
pub enum LimitsCommand {
    /// What the attempts of a dag may have together, and what they had today.
    Show { dag_id: String },
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
    #[arg(long, value_parser = number)]
    memory_mib: Option<Number>,
    /// CPU time, above it attempts fail; or `any` or `default`.
    #[arg(long, value_parser = number)]
    cpu_seconds_per_day: Option<Number>,
    /// Lines of logs, what is above is dropped; or `any` or `default`.
    #[arg(long, value_parser = number)]
    log_mib_per_day: Option<Number>,
    /// Artifacts and XComs, what is above is refused; or `any` or `default`.
    #[arg(long, value_parser = number)]
    data_mib_per_day: Option<Number>,
    /// What is sent and received, what is above is refused; or `any` or `default`.
    #[arg(long, value_parser = number)]
    network_mib_per_day: Option<Number>,
    /// Host calls, what is above is refused; or `any` or `default`.
    #[arg(long, value_parser = number)]
    host_calls_per_day: Option<Number>,
}

/// None: the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number(Option<u32>);

fn number(text: &str) -> Result<Number, String> {
    match text {
        "default" => Ok(Number(None)),
        "any" => Ok(Number(Some(0))),
        text => text
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .map(|number| Number(Some(number)))
            .ok_or_else(|| "it must be a number from 1, `any` or `default`".to_owned()),
    }
}

impl LimitsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::Show { dag_id } => show(&client.get(&["dags", &dag_id, "limits"], &[]).await?, format),
            Self::Set { dag_id, said } => {
                let path = ["dags", &dag_id, "limits"];
                let mut own = client.get(&path, &[]).await?["own"].take();
                for (field, number) in [
                    ("memory_mib", said.memory_mib),
                    ("cpu_seconds_per_day", said.cpu_seconds_per_day),
                    ("log_mib_per_day", said.log_mib_per_day),
                    ("data_mib_per_day", said.data_mib_per_day),
                    ("network_mib_per_day", said.network_mib_per_day),
                    ("host_calls_per_day", said.host_calls_per_day),
                ] {
                    if let Some(Number(number)) = number {
                        own[field] = json!(number);
                    }
                }
                show(&client.put(&path, &own).await?, format)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_words_too() {
        assert_eq!(number("default"), Ok(Number(None)));
        assert_eq!(number("any"), Ok(Number(Some(0))));
        assert_eq!(number("30"), Ok(Number(Some(30))));
        assert!(number("0").is_err() && number("-1").is_err() && number("much").is_err());
    }
}
