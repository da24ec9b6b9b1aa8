//! `airlock tasks`.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{
    client::Client,
    error::{CliError, Kind, OrFail, Result},
    output::{self, Column, Format},
    wait,
};
use crate::model::time::Timestamp;

/// How often to look for the next try of a task instance that is not over.
const NEXT_TRY_PAUSE: Duration = Duration::from_millis(500);
/// A log that breaks off so often, each time before it could be followed for this long, is given up.
const MOST_BROKEN: u32 = 20;
const LIVED: Duration = Duration::from_secs(5);

/// Columns of a list of task instances.
pub const INSTANCE_COLUMNS: &[Column] = &[
    ("task_id", "/task_id"),
    ("map_index", "/map_index"),
    ("label", "/rendered_map_index"),
    ("state", "/state"),
    ("try", "/try_number"),
    ("start_date", "/start_date"),
    ("duration", "/duration"),
    ("run_id", "/dag_run_id"),
];

#[derive(Debug, clap::Subcommand)]
pub enum TasksCommand {
    /// List a dag's tasks.
    List { dag_id: String },
    /// List a run's task instances and their states.
    States {
        dag_id: String,
        run_id: String,
        /// In this state; may be given more than once.
        #[arg(long)]
        state: Vec<String>,
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Show a task instance: its state, what its templates became, and what it waits for.
    Show(ShowArgs),
    /// Run tasks again.
    Clear(ClearArgs),
    /// Say how a task instance ended; one that runs is ended. Of a mapped task: all instances, or one.
    SetState(SetStateArgs),
    /// Print a task instance's log.
    Logs(LogsArgs),
}

#[derive(Debug, clap::Args)]
pub struct ClearArgs {
    dag_id: String,
    /// In this run; in all runs if it is left out.
    #[arg(long = "run", value_name = "RUN_ID")]
    run_id: Option<String>,
    /// This task; may be given more than once. All tasks if it is left out.
    #[arg(long = "task", value_name = "TASK_ID")]
    task_ids: Vec<String>,
    /// Of these tasks, which are mapped, only the instances with this index; may be given more than once.
    #[arg(long = "map-index", value_name = "NUMBER", requires = "task_ids")]
    map_indexes: Vec<u32>,
    #[command(flatten)]
    around: Around,
    /// Those that failed only.
    #[arg(long)]
    only_failed: bool,
    /// Under the newest version of the dag, not the one that the runs were made with.
    #[arg(long)]
    latest_version: bool,
    /// Only list what would be cleared.
    #[arg(long)]
    dry_run: bool,
}

/// What else, beside the tasks that are named.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "these are flags")]
struct Around {
    /// And all upstream of them.
    #[arg(long)]
    upstream: bool,
    /// And all downstream of them.
    #[arg(long)]
    downstream: bool,
    /// And the same tasks of earlier runs.
    #[arg(long)]
    past: bool,
    /// And the same tasks of later runs.
    #[arg(long)]
    future: bool,
}

/// What people may say of a task instance.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum EndState {
    Success,
    Failed,
    Skipped,
}

/// Names a task instance.
#[derive(Debug, clap::Args)]
struct InstanceArgs {
    dag_id: String,
    run_id: String,
    task_id: String,
    /// Of a mapped task: this instance.
    #[arg(long, value_name = "NUMBER", value_parser = |text: &str| text.parse::<u32>().map(|index| index.to_string()))]
    map_index: Option<String>,
}

impl InstanceArgs {
    /// Its path in the API.
    fn path(&self) -> Vec<&str> {
        let mut path = vec!["dags", &self.dag_id, "dagRuns", &self.run_id, "taskInstances", &self.task_id];
        path.extend(self.map_index.as_deref());
        path
    }

    async fn show(&self, client: &Client, format: Format) -> Result<()> {
        let mut path = self.path();
        let mut instance = client.get(&path, &[]).await?;
        path.push("dependencies");
        let waits = client.get(&path, &[]).await?;
        let waits = waits.get("dependencies").and_then(Value::as_array).into_iter().flatten();
        let line = |wait: &Value| {
            let text = |field| wait.get(field).and_then(Value::as_str).unwrap_or_default();
            format!("{}: {}", text("name"), text("reason"))
        };
        instance["waits_for"] = waits.map(line).collect();
        if let (Format::Table, Some(fields)) = (format, instance.as_object_mut()) {
            fields.retain(|_, value| !value.is_null());
        }
        format.object(&instance)
    }
}

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, clap::Args)]
pub struct SetStateArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    state: EndState,
    #[command(flatten)]
    around: Around,
}

#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Which try; the present one if it is left out.
    #[arg(long = "try", value_name = "NUMBER")]
    try_number: Option<u32>,
    /// Go on until the task instance is over.
    #[arg(long, short)]
    follow: bool,
}

impl TasksCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::List { dag_id } => {
                let tasks = client.get(&["dags", &dag_id, "tasks"], &[]).await?;
                let tasks = tasks.get("tasks").and_then(Value::as_array).cloned().unwrap_or_default();
                format.list(
                    &tasks,
                    &[
                        ("task_id", "/task_id"),
                        ("trigger_rule", "/trigger_rule"),
                        ("retries", "/retries"),
                        ("pool", "/pool"),
                        ("downstream", "/downstream_task_ids"),
                    ],
                )
            }
            Self::States { dag_id, run_id, state, limit } => {
                let query: Vec<_> = state.into_iter().map(|state| ("state", state)).collect();
                let segments = ["dags", &dag_id, "dagRuns", &run_id, "taskInstances"];
                let instances = client.list(&segments, &query, "task_instances", limit).await?;
                format.list(&instances, INSTANCE_COLUMNS)
            }
            Self::Show(args) => args.instance.show(client, format).await,
            Self::Clear(args) => args.run(client, format).await,
            Self::SetState(args) => args.run(client, format).await,
            Self::Logs(args) => args.run(client, format).await,
        }
    }
}

impl ClearArgs {
    async fn run(self, client: &Client, format: Format) -> Result<()> {
        let mut body = json!({
            "dry_run": self.dry_run,
            "only_failed": self.only_failed,
            "only_running": false,
            "reset_dag_runs": true,
            "run_on_latest_version": self.latest_version,
        });
        self.around.put_into(&mut body);
        if let Some(run_id) = self.run_id {
            body["dag_run_id"] = run_id.into();
        }
        if !self.map_indexes.is_empty() {
            let pairs = |task: &String| self.map_indexes.iter().map(|index| json!([task, index])).collect::<Vec<_>>();
            body["task_ids"] = self.task_ids.iter().flat_map(pairs).collect();
        } else if !self.task_ids.is_empty() {
            body["task_ids"] = self.task_ids.into();
        }
        let answer = client.post(&["dags", &self.dag_id, "clearTaskInstances"], &body).await?;
        let instances = answer.get("task_instances").and_then(Value::as_array).cloned().unwrap_or_default();
        format.list(&instances, INSTANCE_COLUMNS)
    }
}

impl Around {
    fn put_into(&self, body: &mut Value) {
        for (name, flag) in [
            ("include_upstream", self.upstream),
            ("include_downstream", self.downstream),
            ("include_past", self.past),
            ("include_future", self.future),
        ] {
            body[name] = flag.into();
        }
    }
}

impl SetStateArgs {
    async fn run(self, client: &Client, format: Format) -> Result<()> {
        let state = match self.state {
            EndState::Success => "success",
            EndState::Failed => "failed",
            EndState::Skipped => "skipped",
        };
        let mut body = json!({ "new_state": state });
        self.around.put_into(&mut body);
        let answer = client.patch(&self.instance.path(), &body).await?;
        let instances = answer.get("task_instances").and_then(Value::as_array).cloned().unwrap_or_default();
        format.list(&instances, INSTANCE_COLUMNS)
    }
}

impl LogsArgs {
    async fn run(self, client: &Client, format: Format) -> Result<()> {
        let path = self.instance.path();
        // The try that is printed next; none: that which is the present one when the instance is first seen.
        let mut next = self.try_number.map(u64::from);
        let mut printed = Printed::default();
        loop {
            // States are asked first: what an attempt wrote is all there when the state says that it is over, and a run that is not
            // queued has its instances.
            let is_to_come = self.follow && self.is_to_come(client).await?;
            let found = self.ask(client, &path).await;
            if is_to_come && found.as_ref().is_err_and(|error| error.status() == Some(404)) {
                next = next.or(Some(1));
                tokio::time::sleep(NEXT_TRY_PAUSE).await;
                continue;
            }
            let row = found?;
            let state = row.get("state").and_then(Value::as_str).unwrap_or_default();
            let is_over = wait::is_finished(state);
            let present = row.get("try_number").and_then(Value::as_u64).unwrap_or(0);
            let first = next.unwrap_or_else(|| present.max(1));
            let last = self.try_number.map_or(present, |number| present.min(number.into()));
            // Also those that came and went between two looks.
            if let Some(log) = LogOf::present_try(&self.instance.dag_id, &self.instance.run_id, &row) {
                for try_number in first..=last {
                    let log = LogOf { try_number, ..log.clone() };
                    printed.print(client, &log, self.follow, |line| print_line(line, format)).await?;
                }
            }
            if last < first && !self.follow {
                let task_id = &self.instance.task_id;
                return Err(CliError::text(Kind::NotFound, format!("task `{task_id}` has no try {first}"))
                    .hint("wait for it with --follow"));
            }
            // One that was lost, or waits to be started again, goes on in the same log.
            let goes_on = self.follow && last == present && !is_over && state != "up_for_retry";
            next = Some(if goes_on { first.max(last) } else { first.max(last + 1) });
            if !self.follow || is_over || self.try_number.is_some_and(|number| next > Some(number.into())) {
                return Ok(());
            }
            tokio::time::sleep(NEXT_TRY_PAUSE).await;
        }
    }

    /// Whether the run is queued: it has its task instances once it starts.
    async fn is_to_come(&self, client: &Client) -> Result<bool> {
        let run = self.ask(client, &["dags", &self.instance.dag_id, "dagRuns", &self.instance.run_id]).await?;
        Ok(run["state"] == "queued")
    }

    async fn ask(&self, client: &Client, segments: &[&str]) -> Result<Value> {
        if self.follow { wait::ask(client, segments).await } else { client.get(segments, &[]).await }
    }
}

/// How far the log of a try is printed.
#[derive(Debug, Default)]
pub struct Printed {
    try_number: u64,
    /// Lines that came, and the latest of their times.
    lines: u64,
    until: Timestamp,
    /// So many lines come once more.
    again: u64,
}

impl Printed {
    /// Hands what there is more of the log to `each`; with `follow` until the attempt has ended. If the server goes away meanwhile, it
    /// goes on when there is one again.
    ///
    /// # Errors
    /// If the log can't be read, there is no server for a minute, or `each` fails.
    pub async fn print(
        &mut self,
        client: &Client,
        log: &LogOf,
        follow: bool,
        mut each: impl FnMut(&Value) -> Result<()>,
    ) -> Result<()> {
        if self.try_number != log.try_number {
            *self = Self { try_number: log.try_number, ..Self::default() };
        }
        let mut broken = 0;
        loop {
            let (since, first) = (Instant::now(), self.lines);
            let once = |line: &Value| if self.is_new(line) { each(line) } else { Ok(()) };
            match log.print(client, follow, first, once).await {
                Err(error) if follow && error.kind() == Kind::Unreachable => {
                    broken = if since.elapsed() > LIVED { 1 } else { broken + 1 };
                    if broken > MOST_BROKEN {
                        return Err(error);
                    }
                    output::note("the log broke off; it is asked for again");
                    tokio::time::sleep(NEXT_TRY_PAUSE).await;
                    // If there is none for a minute, this fails.
                    wait::ask(client, &["version"]).await?;
                    self.begin_again();
                }
                ended => return ended,
            }
        }
    }

    /// Lets all lines come once more: a server that was killed may have lost the last of them.
    fn begin_again(&mut self) {
        (self.again, self.lines) = (self.again.max(self.lines), 0);
    }

    /// Counts a line, and answers whether it has not come before.
    fn is_new(&mut self, line: &Value) -> bool {
        let at = line.get("timestamp").and_then(Value::as_str).and_then(|at| at.parse::<Timestamp>().ok());
        let at = at.unwrap_or_default();
        let is_new = self.lines >= self.again || at > self.until;
        if is_new {
            // What comes after it is new, too.
            self.again = 0;
        }
        self.lines += 1;
        self.until = self.until.max(at);
        is_new
    }
}

/// Names the log of one try.
#[derive(Debug, Clone)]
pub struct LogOf {
    pub dag_id: String,
    pub run_id: String,
    pub task_id: String,
    pub map_index: i64,
    pub try_number: u64,
}

impl LogOf {
    /// That of the present try of `instance`, as the API shows it; none if it has not been tried.
    pub fn present_try(dag_id: &str, run_id: &str, instance: &Value) -> Option<Self> {
        let try_number = instance.get("try_number")?.as_u64().filter(|number| *number > 0)?;
        Some(Self {
            dag_id: dag_id.to_owned(),
            run_id: run_id.to_owned(),
            task_id: instance.get("task_id")?.as_str()?.to_owned(),
            map_index: instance.get("map_index")?.as_i64()?,
            try_number,
        })
    }

    /// Hands the lines from `first` on, counted from 0, to `each`; with `follow` until no attempt of the try runs.
    ///
    /// # Errors
    /// If the log can't be read, or `each` fails.
    pub async fn print(
        &self,
        client: &Client,
        follow: bool,
        first: u64,
        mut each: impl FnMut(&Value) -> Result<()>,
    ) -> Result<()> {
        let number = self.try_number.to_string();
        let segments = ["dags", &self.dag_id, "dagRuns", &self.run_id, "taskInstances", &self.task_id, "logs", &number];
        let query =
            [("map_index", self.map_index.to_string()), ("follow", follow.to_string()), ("token", first.to_string())];
        let request = client.request(Method::GET, &segments, &query)?.header(header::ACCEPT, "application/x-ndjson");
        let mut pieces = client.exchange(request).await?.bytes_stream();
        let mut line = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.or_fail(Kind::Unreachable, || "the log broke off".into())?;
            for part in piece.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    each(&serde_json::from_slice(&line).unwrap_or_default())?;
                    line.clear();
                }
            }
        }
        Ok(())
    }
}

/// Prints a line of a log.
pub fn print_line(line: &Value, format: Format) -> Result<()> {
    match format {
        Format::Table => output::print(&format!("{}\n", plain_line(line))),
        Format::Json | Format::Yaml => output::json_line(line),
    }
}

/// A line of a log for people.
pub fn plain_line(line: &Value) -> String {
    let text = |field| line.get(field).and_then(Value::as_str).unwrap_or("");
    let plain = match line {
        Value::String(text) => text.clone(),
        _ => format!("{} {:5} {}", text("timestamp"), text("level").to_uppercase(), event_with_fields(line)),
    };
    output::printable(&plain).into_owned()
}

/// What a line of a log says, and the fields that the task added.
pub fn event_with_fields(line: &Value) -> String {
    let mut said = line.get("event").and_then(Value::as_str).unwrap_or_default().to_owned();
    let known = ["timestamp", "level", "source", "logger", "event"];
    for (name, value) in line.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(&name.as_str())) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        said.extend([" ", name.as_str(), "=", &value]);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_line_stand_behind_what_it_says() {
        let line = json!({
            "timestamp": "T", "level": "error", "source": "log", "logger": "a", "event": "no file", "error": "gone", "n": 3,
        });
        assert_eq!(plain_line(&line), "T ERROR no file error=gone n=3");
        assert_eq!(plain_line(&json!("raw\u{1b}")), "raw\u{fffd}");
    }

    #[test]
    fn lines_that_come_again_are_known_also_if_the_last_of_them_were_lost() {
        let line = |second: u32| json!({"timestamp": format!("2026-01-01T00:00:0{second}Z"), "event": "x"});
        let mut printed = Printed::default();
        assert!([0, 1, 1, 3].map(line).iter().all(|line| printed.is_new(line)));
        printed.begin_again();
        let new = [0, 1, 5, 5, 6].map(line).map(|line| printed.is_new(&line));
        assert_eq!(new, [false, false, true, true, true]);
    }
}
