//! `airlock serve --worker`, for a server of a test.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use crate::{authority::Authority, build, family, wait::until};

/// A worker. Ends when it is dropped.
#[derive(Debug)]
pub struct Worker {
    folder: TempDir,
    child: Child,
}

impl Worker {
    /// Starts one that works for the server at `url`.
    pub fn start(url: &str, token: &str, name: &str, slots: u32) -> Self {
        Self::with(url, token, name, slots, &[])
    }

    /// Starts one with more arguments, as `--workers-queues`.
    pub fn with(url: &str, token: &str, name: &str, slots: u32, args: &[&str]) -> Self {
        Self::spawn(url, token, name, slots, args, &[])
    }

    /// Starts one that trusts this authority, and nobody else.
    pub fn trusting(url: &str, token: &str, name: &str, slots: u32, authority: &Authority) -> Self {
        Self::spawn(url, token, name, slots, &[], &[("SSL_CERT_FILE", &authority.root())])
    }

    fn spawn(url: &str, token: &str, name: &str, slots: u32, args: &[&str], env: &[(&str, &Path)]) -> Self {
        let folder = TempDir::with_prefix("airlock-worker-").expect("a temporary folder can be made");
        let open = |name: &str| Stdio::from(File::create(folder.path().join(name)).expect("the folder can be written"));
        let child = Command::new(build::binary())
            .args(["serve", "--worker", "--workers-url", url, "--workers-name", name])
            .args(["--parallelism", &slots.to_string()])
            .args(args)
            .env_clear()
            .env("AIRLOCK_WORKERS_TOKEN", token)
            .envs(env.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(open("stdout"))
            .stderr(open("stderr"))
            .spawn()
            .expect("the binary can be started");
        Self { folder, child }
    }

    /// The request by which one comes, as it stands on the wire, to be sent by somebody else.
    pub async fn hello(token: &str, name: &str, slots: u32) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let at = listener.local_addr().expect("it has an address");
        let _worker = Self::start(&format!("http://{at}"), token, name, slots);
        let (mut socket, _) = listener.accept().await.expect("the worker comes");
        let mut hello = Vec::new();
        while !hello.ends_with(b"\r\n\r\n") {
            hello.push(socket.read_u8().await.expect("it says who it is"));
        }
        String::from_utf8(hello).expect("a head is text")
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// Ends its runner, as a system does that is short of memory.
    pub fn kill_runner(&self) {
        family::kill_children(self.child.id());
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended already needs no signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether its process is gone.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the worker's end", Duration::from_mins(1), async || self.child.try_wait().ok().flatten()).await
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the worker's standard error ----\n{}", self.log());
        }
    }
}
