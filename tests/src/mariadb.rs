//! A MariaDB server of a test's own: the installed one (Debian: `mariadb-server`), on an empty folder.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    daemon::{self, free_port, succeed},
    wait::until,
};

/// A user who may do everything, and signs in with a password.
pub const USER: &str = "airlock";
/// That user's password.
pub const PASSWORD: &str = "airlock-test-password";
/// The one database.
pub const DATABASE: &str = "test0";

const ACCOUNTS: &[&str] = &["mysql", "nobody"];
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// A server that is there for one test. Ends when it is dropped.
#[derive(Debug)]
pub struct MariaDb {
    folder: TempDir,
    child: Child,
    port: u16,
}

impl MariaDb {
    pub async fn start() -> Self {
        let folder = TempDir::with_prefix("airlock-mariadb-").expect("a temporary folder can be made");
        daemon::give(folder.path(), ACCOUNTS);
        let command = |program: &str| daemon::command(Path::new(program), folder.path(), ACCOUNTS);
        let data = folder.path().join("data");
        let mut install = command("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        succeed(install.arg(format!("--datadir={}", data.display())));
        let port = free_port();
        let mut server = command("mariadbd");
        server.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
        server.arg(format!("--datadir={}", data.display())).arg(format!("--port={port}"));
        server.arg(format!("--socket={}", folder.path().join("socket").display()));
        let log = fs::File::create(folder.path().join("log")).expect("the temporary folder can be written");
        let child = server.stdout(Stdio::null()).stderr(log).spawn().expect("MariaDB is installed");
        let mut mariadb = Self { folder, child, port };
        mariadb.answers().await;
        mariadb.sql(
            "mysql",
            &format!(
                "CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4; \
                 CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {USER}@'127.0.0.1'"
            ),
        );
        mariadb
    }

    /// Of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `statements` answer in `database`: a line a row, columns divided by tabs.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut client = daemon::command(Path::new("mariadb"), self.folder.path(), ACCOUNTS);
        client.args(["--no-defaults", "--user=root", "--socket=socket", "--batch", "--skip-column-names"]);
        succeed(client.args(["--execute", statements, database])).trim().to_owned()
    }

    async fn answers(&mut self) {
        until("MariaDB", START_TIMEOUT, async || {
            let ended = self.child.try_wait().expect("a child can be asked whether it ended");
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "MariaDB ended: {}", log());
            log().contains("ready for connections").then_some(())
        })
        .await;
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        // The folder is not needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
