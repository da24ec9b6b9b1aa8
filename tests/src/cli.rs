//! `airlock`'s commands, as a shell runs them.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    build,
    server::{ADMIN_PASSWORD, SERVERS_DATABASE, Server},
};

/// A user's shell: an empty home, and a server's address if there is one.
#[derive(Debug)]
pub struct Shell {
    pub home: TempDir,
    url: Option<String>,
    env: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// The output of a command that succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// The output of a command that succeeded, as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.ok()).expect("the output is JSON")
    }

    /// The error of a command that ended with `code`. Each has a cause and says what to do or what is wrong.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.starts_with("error: "), "{}", self.err);
        self.err
    }
}

impl Shell {
    pub fn new() -> Self {
        let home = TempDir::with_prefix("airlock-home-").expect("a temporary folder can be made");
        Self { home, url: None, env: Vec::new() }
    }

    /// A variable of all its commands.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A shell on the machine of `server`: it has the setting of its database.
    pub fn beside(server: &Server) -> Self {
        let shell = Self::new();
        match server.postgres_url() {
            Some(url) => shell.env(SERVERS_DATABASE, &url),
            None => shell,
        }
    }

    /// A shell [`beside`](Self::beside) `server` whose user has signed in.
    pub async fn signed_in(server: &Server) -> Self {
        let shell = Self { url: Some(server.url.clone()), ..Self::beside(server) };
        shell.run_with(&["login"], ADMIN_PASSWORD).await.ok();
        shell
    }

    /// Runs `airlock <args>`.
    pub async fn run(&self, args: &[&str]) -> Done {
        self.run_with(args, "").await
    }

    /// Runs `airlock <args>` with this standard input.
    pub async fn run_with(&self, args: &[&str], input: &str) -> Done {
        let mut command = self.command(args);
        let input = input.to_owned();
        let run = move || {
            let mut child = command.spawn().expect("the binary can be started");
            if let Some(mut stdin) = child.stdin.take() {
                // A command that does not read its input may end before it is written.
                let _ = stdin.write_all(input.as_bytes());
            }
            let output = child.wait_with_output().expect("a child can be waited for");
            Done {
                code: output.status.code().unwrap_or(-1),
                out: String::from_utf8_lossy(&output.stdout).into_owned(),
                err: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        };
        tokio::task::spawn_blocking(run).await.expect("a command can be waited for")
    }

    /// `airlock <args>`, not yet started; its input and outputs are pipes.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(build::binary());
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.url.iter().map(|url| ("AIRLOCK_URL", url)))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A file in the shell's home.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).expect("the temporary folder can be written");
        path.to_string_lossy().into_owned()
    }

    pub fn path(&self) -> &Path {
        self.home.path()
    }
}

impl Default for Shell {
    fn default() -> Self {
        Self::new()
    }
}
