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

/// A server that is there for one test. Ends when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    child: Child,
    port: u16,
    databases: AtomicU32,
}

impl Postgres {
    /// A server that has one database, `postgres`; [`database`](Self::database) makes more.
    pub async fn start() -> Self {
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
        let child = spawn(&programs, folder.path(), port);
        let mut postgres = Self { folder, programs, child, port, databases: AtomicU32::new(0) };
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

    /// Ends the server as a crash of its own would: clients lose their connections, what was not committed is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::QUIT);
        self.child.wait().expect("a child can be waited for");
    }

    /// Starts it again after [`kill`](Self::kill), on the same port.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.programs, self.folder.path(), self.port);
        self.answers().await;
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

    fn log(&self) -> String {
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

/// Nothing is written to disk for good: it is the machine's crash that would lose it, not the server's.
fn spawn(programs: &Path, folder: &Path, port: u16) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log"));
    let mut postgres = command(programs, "postgres", folder);
    postgres.args(["-D", "data", "-p", &port.to_string(), "-h", "127.0.0.1"]);
    for setting in ["fsync=off", "unix_socket_directories=", "shared_buffers=32MB", "max_connections=200"] {
        postgres.args(["-c", setting]);
    }
    postgres.stdout(Stdio::null()).stderr(log.expect("the temporary folder can be written"));
    postgres.spawn().expect("PostgreSQL can be started")
}
