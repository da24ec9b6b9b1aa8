//! A PostgreSQL server of a test's own: the installed one, on an empty folder.
//!
//! It is looked for in `AIRLOCK_TEST_PG_BIN` (the folder of `initdb` and `postgres`), and where Debian has it. PostgreSQL refuses
//! to run as root; there it runs as the user `postgres`, or `nobody`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    daemon::{self, free_port, succeed},
    wait::until,
};

/// The one user, who may do everything.
pub const USER: &str = "airlock";
/// That user's password.
pub const PASSWORD: &str = "airlock-test-password";

/// Whom it may run as.
const ACCOUNTS: &[&str] = &["postgres", "nobody"];

/// How long the server may take until it answers: it shares the machine with other tests.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Makes a schema for `folder` in the database of `url`; the URL by which it is used.
pub fn schema(url: &str, folder: &Path) -> String {
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase()
        .replace(|c: char| !c.is_alphanumeric(), "_");
    // Whoever it runs as can go there.
    let mut psql = command(&programs(), "psql", Path::new("/"));
    succeed(psql.args(["--no-psqlrc", "--quiet", "--command", &format!("CREATE SCHEMA {name}"), url]));
    format!("{url}?options=-c%20search_path%3D{name}")
}

/// Takes all from the schema of `url`.
pub fn empty(url: &str) {
    let anew = "DO $$ DECLARE schema name := current_schema(); BEGIN \
                EXECUTE format('DROP SCHEMA %I CASCADE', schema); EXECUTE format('CREATE SCHEMA %I', schema); END $$";
    ask(url, anew).expect("the schema can be made anew");
}

/// What a statement answers in the database of `url`, as [`Postgres::sql`] does; none if the server does not answer, or refuses it.
pub fn ask(url: &str, statement: &str) -> Option<String> {
    let mut psql = command(&programs(), "psql", Path::new("/"));
    psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1", "--command"]);
    let output = psql.args([statement, url]).env("PGCONNECT_TIMEOUT", "5").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A server that is there for one test. Ends when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    child: Child,
    port: u16,
    databases: AtomicU32,
    is_durable: bool,
}

impl Postgres {
    /// A server that has one database, `postgres`; [`database`](Self::database) makes more.
    pub async fn start() -> Self {
        Self::new(false).await
    }

    /// As [`start`](Self::start), but what is committed is on disk.
    pub async fn start_durable() -> Self {
        Self::new(true).await
    }

    async fn new(is_durable: bool) -> Self {
        let folder = TempDir::with_prefix("airlock-postgres-").expect("a temporary folder can be made");
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).expect("the temporary folder can be written");
        daemon::give(folder.path(), ACCOUNTS);
        daemon::give(&password, ACCOUNTS);
        let programs = programs();
        let mut initdb = command(&programs, "initdb", folder.path());
        initdb.args(["--pgdata=data", "--pwfile=password", "--username", USER]);
        initdb.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        succeed(&mut initdb);
        let port = free_port();
        let child = spawn(&programs, folder.path(), port, is_durable);
        let mut postgres = Self { folder, programs, child, port, databases: AtomicU32::new(0), is_durable };
        postgres.answers().await;
        postgres
    }

    /// Of 127.0.0.1; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How a client names `database`, with the password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database and answers its name.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// What `statements` answer in `database`: a line a row, columns divided by `|`.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut psql = command(&self.programs, "psql", self.folder.path());
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1", "--command"]);
        psql.arg(statements).arg(self.url(database));
        succeed(&mut psql).trim().to_owned()
    }

    /// Lets `clients` run a script of pgbench over and over again in `database`; how often a second all of them together did.
    pub fn pgbench(&self, database: &str, script: &str, clients: u32, time: Duration) -> f64 {
        let path = self.folder.path().join("script");
        fs::write(&path, script).expect("the temporary folder can be written");
        daemon::give(&path, ACCOUNTS);
        let (clients, time) = (clients.to_string(), time.as_secs().max(1).to_string());
        let mut pgbench = command(&self.programs, "pgbench", self.folder.path());
        pgbench.args(["--no-vacuum", "--file=script", "--client", &clients, "--jobs", &clients, "--time", &time]);
        pgbench.args(["--host=127.0.0.1", "--port", &self.port.to_string(), "--username", USER]);
        let told = succeed(pgbench.env("PGPASSWORD", PASSWORD).arg(database));
        let tps = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next());
        tps.and_then(|tps| tps.parse().ok()).unwrap_or_else(|| panic!("pgbench tells no figure: {told}"))
    }

    /// Ends the server as a crash of its own would: clients lose their connections, what was not committed is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::QUIT);
        self.child.wait().expect("a child can be waited for");
    }

    /// Starts it again after [`kill`](Self::kill), on the same port.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.programs, self.folder.path(), self.port, self.is_durable);
        self.answers().await;
    }

    /// Keeps a copy of all that is committed, as a standby that hears no more of what follows. The server restarts for it.
    pub async fn copy(&mut self) {
        self.kill();
        succeed(Command::new("cp").args(["-a", "data", "copy"]).current_dir(self.folder.path()));
        self.restart().await;
    }

    /// Lets the [`copy`](Self::copy) take the server's place, as a standby that is promoted.
    pub async fn fail_over(&mut self) {
        self.kill();
        let folder = self.folder.path();
        fs::remove_dir_all(folder.join("data")).expect("what was there can be taken away");
        fs::rename(folder.join("copy"), folder.join("data")).expect("the copy can be moved");
        let standby = folder.join("data/standby.signal");
        fs::write(&standby, "").expect("the copy can be written");
        daemon::give(&standby, ACCOUNTS);
        self.restart().await;
        self.sql("postgres", "SELECT pg_promote()");
    }

    async fn answers(&mut self) {
        let mut ready = command(&self.programs, "pg_isready", self.folder.path());
        ready.args(["--quiet", "--host=127.0.0.1", &format!("--port={}", self.port)]);
        until("PostgreSQL", START_TIMEOUT, async || {
            let ended = self.child.try_wait().expect("a child can be asked whether it ended");
            assert!(ended.is_none(), "PostgreSQL ended: {}", self.log());
            ready.status().is_ok_and(|status| status.success()).then_some(())
        })
        .await;
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The folder is not needed any more: at once, without a checkpoint.
            self.signal(Signal::QUIT);
            let _ = self.child.wait();
        }
    }
}

/// Where the server's programs are.
fn programs() -> PathBuf {
    if let Some(folder) = env::var_os("AIRLOCK_TEST_PG_BIN") {
        return folder.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let of_debian = versions.map(|version| version.path().join("bin"));
    let in_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let has_server = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("psql").is_file();
    let found = of_debian.filter(has_server).max().or_else(|| in_path.into_iter().find(has_server));
    found.expect(
        "PostgreSQL is installed (Debian: apt-get install postgresql), or AIRLOCK_TEST_PG_BIN names its programs",
    )
}

fn command(programs: &Path, program: &str, folder: &Path) -> Command {
    daemon::command(&programs.join(program), folder, ACCOUNTS)
}

/// Unless it is durable, nothing is written to disk for good: it is the machine's crash that would lose it, not the server's.
fn spawn(programs: &Path, folder: &Path, port: u16, is_durable: bool) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log"));
    let mut postgres = command(programs, "postgres", folder);
    postgres.args(["-D", "data", "-p", &port.to_string(), "-h", "127.0.0.1"]);
    let fsync = if is_durable { "fsync=on" } else { "fsync=off" };
    for setting in [
        fsync,
        "unix_socket_directories=",
        "shared_buffers=32MB",
        "max_connections=200",
        "log_parameter_max_length_on_error=2kB",
    ] {
        postgres.args(["-c", setting]);
    }
    postgres.stdout(Stdio::null()).stderr(log.expect("the temporary folder can be written"));
    postgres.spawn().expect("PostgreSQL can be started")
}
