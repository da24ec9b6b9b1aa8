//! `airlock grants`.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    client::Client,
    error::Result,
    output::{self, Format},
};
use crate::model::grants::Grant;

#[derive(Debug, clap::Subcommand)]
pub enum GrantsCommand {
    /// List what a dag asks to reach, and how it stands: granted, approved, waits, revoked.
    List { dag_id: String },
    /// Approve what a dag asks to reach.
    Approve {
        dag_id: String,
        /// As `variable:reports/*`, `connection:shop`, `connection-secret:shop`, `http:api.example.org:8443`, `dag:load`,
        /// `memory:1024`.
        #[arg(required_unless_present = "all")]
        grants: Vec<String>,
        /// All that waits now.
        #[arg(long, conflicts_with = "grants")]
        all: bool,
    },
    /// Take something from a dag; attempts that start from now on don't have it.
    Revoke {
        dag_id: String,
        #[arg(required = true)]
        grants: Vec<String>,
    },
    /// Say which requests of a dag wait for an admin.
    Policy {
        dag_id: String,
        /// `grant` (none), `review` (all), the kinds that wait, divided by commas, or `default` (the server's setting).
        policy: String,
    },
}

impl GrantsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        let answer = match self {
            Self::List { dag_id } => client.get(&["dags", &dag_id, "grants"], &[]).await?,
            Self::Approve { dag_id, grants, all: false } => {
                let answer = decide(client, &dag_id, "approve", &grants).await?;
                note_unasked(&answer, &grants, Grant::covers);
                answer
            }
            Self::Approve { dag_id, .. } => {
                let now = client.get(&["dags", &dag_id, "grants"], &[]).await?;
                let pending = now.get("pending").cloned().unwrap_or_default();
                if pending.as_array().is_none_or(Vec::is_empty) {
                    output::note("nothing waits");
                    return show(&now, format);
                }
                decide(client, &dag_id, "approve", &pending).await?
            }
            Self::Revoke { dag_id, grants } => {
                let answer = decide(client, &dag_id, "revoke", &grants).await?;
                note_unasked(&answer, &grants, |revoked, requested| requested.touches(revoked));
                answer
            }
            Self::Policy { dag_id, policy } => {
                let policy = if policy == "default" { Value::Null } else { policy.into() };
                client.patch(&["dags", &dag_id, "grants"], &json!({ "policy": policy })).await?
            }
        };
        show(&answer, format)
    }
}

async fn decide(client: &Client, dag_id: &str, verb: &str, grants: &impl Serialize) -> Result<Value> {
    client.post(&["dags", dag_id, "grants", verb], &json!({ "grants": grants })).await
}

/// Says which decisions concern nothing that the dag asks for now: they may be mistyped.
fn note_unasked(answer: &Value, grants: &[String], concerns: impl Fn(&Grant, &Grant) -> bool) {
    let requested = answer.get("requested").and_then(Value::as_array).into_iter().flatten();
    let requested: Vec<Grant> = requested.filter_map(|request| request["grant"].as_str()?.parse().ok()).collect();
    for text in grants {
        if let Ok(grant) = text.parse::<Grant>()
            && !requested.iter().any(|request| concerns(&grant, request))
        {
            output::note(&format!(
                "the dag asks for nothing of `{text}` now; the decision is kept for versions that do"
            ));
        }
    }
}

fn show(answer: &Value, format: Format) -> Result<()> {
    if format != Format::Table {
        return format.object(answer);
    }
    let requested = answer.get("requested").and_then(Value::as_array).cloned().unwrap_or_default();
    if requested.is_empty() {
        output::note("it asks for nothing");
    }
    format.list(&requested, &[("grant", "/grant"), ("standing", "/standing"), ("about", "/about")])
}
