//! The command line: `airlock serve`, and the commands that speak to a server.
//!
//! Results go to standard output (`--output table|json|yaml`), everything about them to standard error. Each error is
//! a kind (the exit code), a cause and a hint: see [`error`].

mod agreement;
mod approvals;
mod assets;
mod audit;
mod backfill;
mod backup;
mod client;
mod cluster;
mod components;
mod connections;
mod dag_diff;
mod dag_numbers;
mod dags;
mod db;
mod deploy;
#[cfg(test)]
mod deployments;
mod dev;
mod error;
mod fleets;
mod grants;
mod http;
mod limits;
mod local;
mod log;
mod login;
mod machine;
mod new;
mod output;
mod pools;
mod progress;
mod replay;
mod retention;
mod runs;
mod secrets;
mod serve;
mod services;
mod settings;
mod storage;
mod tasks;
mod tls;
mod tokens;
mod transfer;
mod trial;
mod users;
mod variables;
mod wait;
mod worker;
mod workers;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::{
    client::{Client, ClientArgs},
    error::Result,
    output::Format,
    settings::{SettingArgs, Settings},
};

/// Schedules DAGs of WebAssembly tasks and runs every task instance in a sandbox of its own.
#[derive(Debug, Parser)]
#[command(name = "airlock", version, after_help = error::EXIT_CODES, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    client: ClientArgs,
    /// How results are printed.
    #[arg(long, short, value_enum, default_value_t, global = true)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server: page, API, scheduler and runners.
    Serve(serve::ServeArgs),
    /// Run a dag of a component, or in YAML, here, without a server; exits with 1 if the run fails.
    Test(trial::TestArgs),
    /// Make a project for tasks and dags that builds and tests at once.
    New(new::NewArgs),
    /// Sign in and keep the token for later commands.
    Login(login::LoginArgs),
    /// Forget the token that `login` kept.
    Logout,
    /// Upload components and dags in YAML; the dags are active when this returns.
    Deploy(deploy::DeployArgs),
    /// Build, upload and run what is being written, again at each save, with its logs here.
    Dev(dev::DevArgs),
    /// Print the JSON Schema of dags in YAML, for editors.
    Schema,
    /// Dags: list, show, trigger, pause, ...
    #[command(subcommand)]
    Dags(dags::DagsCommand),
    /// Backfills, runs of the past: create, list, show, pause, unpause, cancel.
    #[command(subcommand)]
    Backfill(backfill::BackfillCommand),
    /// Runs of dags: list, show, callbacks, clear, set-state, triggered, delete.
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Tasks and their instances: list, states, show, clear, set-state, logs.
    #[command(subcommand)]
    Tasks(tasks::TasksCommand),
    /// Run a recorded attempt again, here; exits with 1 if it does not end as it did.
    Replay(replay::ReplayArgs),
    /// Variables: list, get, set, delete, import, export.
    #[command(subcommand)]
    Variables(variables::VariablesCommand),
    /// Connections: list, get, set, test, delete, import, export.
    #[command(subcommand)]
    Connections(connections::ConnectionsCommand),
    /// Pools: list, set, delete.
    #[command(subcommand)]
    Pools(pools::PoolsCommand),
    /// Machines that run task instances for the server: list, pods, drain.
    #[command(subcommand)]
    Workers(workers::WorkersCommand),
    /// What tasks ask people: list, answer.
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    /// Assets: list, events, update, queued.
    #[command(subcommand)]
    Assets(assets::AssetsCommand),
    /// What dags may reach: list, approve, revoke, policy.
    #[command(subcommand)]
    Grants(grants::GrantsCommand),
    /// The keys that seal secrets: keys, rotate.
    #[command(subcommand)]
    Secrets(secrets::SecretsCommand),
    /// Components: list, show.
    #[command(subcommand)]
    Components(components::ComponentsCommand),
    /// Make a backup of a server's data, while it works (on the data directory).
    Backup(backup::BackupArgs),
    /// Restore a backup into an empty place.
    Restore(backup::RestoreArgs),
    /// Print variables, connections, pools and what is said of dags as one file.
    Export(transfer::ExportArgs),
    /// Take over what `export` printed: all of it, or nothing.
    Import(transfer::ImportArgs),
    /// Object storage: check that rows and objects fit, adopt (on the data directory).
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    /// The database: move it to PostgreSQL, or take it back (on the data directory).
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Users: list, add, set-role, set-dags, set-password, sign-out, delete (on the data directory).
    Users(users::UsersArgs),
    /// Tokens for programs: create, list, revoke.
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// How long history is kept: show, set, preview, run.
    #[command(subcommand)]
    Retention(retention::RetentionCommand),
    /// What all attempts of one dag may have together: show, set.
    #[command(subcommand)]
    Limits(limits::LimitsCommand),
    /// The audit log: export.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The server's settings: show.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the version of this command, and of the server if it answers.
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print each setting's value and where it came from; secrets as `***`.
    Show(SettingArgs),
}

/// Reads this process's arguments and runs the command that they name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody can be told that standard error is closed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&error.to_string());
            error.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let Cli { client: client_args, output: format, command } = cli;
    let client = || Client::new(&client_args);
    match command {
        Command::Serve(args) => args.run(),
        Command::Test(args) => on_all_cores(args.run(format)),
        Command::Users(args) => on_one_thread(args.run(format)),
        Command::New(args) => args.run(),
        Command::Login(args) => on_one_thread(args.run(&client_args)),
        Command::Logout => login::logout(&client_args),
        Command::Deploy(args) => on_one_thread(args.run(&client()?, format)),
        Command::Dev(args) => on_one_thread(args.run(client()?)),
        Command::Schema => output::print(&format!("{:#}\n", crate::model::yaml::json_schema())),
        Command::Dags(command) => on_one_thread(command.run(client, format)),
        Command::Backfill(command) => on_one_thread(command.run(&client()?, format)),
        Command::Runs(command) => on_one_thread(command.run(&client()?, format)),
        Command::Tasks(command) => on_one_thread(command.run(&client()?, format)),
        Command::Replay(args) => on_all_cores(args.run(client, format)),
        Command::Variables(command) => on_one_thread(command.run(client, format)),
        Command::Connections(command) => on_one_thread(command.run(client, format)),
        Command::Workers(command) => on_one_thread(command.run(&client()?, format)),
        Command::Pools(command) => on_one_thread(command.run(&client()?, format)),
        Command::Approvals(command) => on_one_thread(command.run(&client()?, format)),
        Command::Assets(command) => on_one_thread(command.run(&client()?, format)),
        Command::Grants(command) => on_one_thread(command.run(&client()?, format)),
        Command::Secrets(command) => on_one_thread(command.run(&client()?, format)),
        Command::Components(command) => on_one_thread(command.run(&client()?, format)),
        Command::Tokens(command) => on_one_thread(command.run(&client()?, format)),
        Command::Export(args) => on_one_thread(args.run(&client()?)),
        Command::Import(args) => on_one_thread(args.run(&client()?, format)),
        Command::Backup(args) => on_all_cores(args.run(format)),
        Command::Restore(args) => on_all_cores(args.run(format)),
        Command::Storage(command) => on_one_thread(command.run(format)),
        Command::Db(command) => on_one_thread(command.run(format)),
        Command::Limits(command) => on_one_thread(command.run(&client()?, format)),
        Command::Retention(command) => on_one_thread(command.run(&client()?, format)),
        Command::Audit(command) => on_one_thread(command.run(&client()?)),
        Command::Config(ConfigCommand::Show(args)) => config_show(&args, format),
        Command::Completions { shell } => {
            // It gives up where a reader has gone; `print` does not.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "airlock", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
        Command::Version => on_one_thread(version(&Client::anonymous(&client_args)?, format)),
    }
}

/// Runs a client's command: it waits for one server, so one thread is enough.
fn on_one_thread(command: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Runs what runs tasks.
fn on_all_cores(command: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}

fn config_show(args: &SettingArgs, format: Format) -> Result<()> {
    let settings = Settings::load(args)?;
    let rows: Vec<_> = settings
        .shown()
        .map(|(setting, value)| {
            let (value, origin) = value.unzip();
            serde_json::json!({"key": setting.key, "value": value, "origin": origin.map(ToString::to_string)})
        })
        .collect();
    format.list(&rows, &[("key", "/key"), ("value", "/value"), ("origin", "/origin")])?;
    // Shown first, so that the user sees where a bad value comes from.
    settings::ServeConfig::from_settings(&settings).map(|_| ())
}

async fn version(client: &Client, format: Format) -> Result<()> {
    let server = client.get(&["version"], &[]).await.ok();
    let server = server.as_ref().and_then(|answer| answer.get("version"));
    format.object(&serde_json::json!({"airlock": env!("CARGO_PKG_VERSION"), "server": server}))
}

/// Reads `text` as a JSON object.
fn json_object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(object)) => Ok(object),
        Ok(_) => Err("it must be a JSON object, as {\"key\": 1}".into()),
        Err(error) => Err(format!("it must be a JSON object: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }
}
