//! Programs of others that a test starts: as a user of their own, for many refuse to run as root.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::geteuid;

/// User and group of the first of `accounts` that there is, where we are root.
fn account(accounts: &[&str]) -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("the system has users");
    accounts.iter().find_map(|name| {
        let fields: Vec<_> = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == *name)?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    })
}

/// Gives `path` to whoever [`command`] runs as.
pub(crate) fn give(path: &Path, accounts: &[&str]) {
    if let Some((uid, gid)) = account(accounts) {
        chown(path, Some(uid), Some(gid)).expect("root may give a folder away");
    }
}

/// A program that is to run in `folder`.
pub(crate) fn command(program: &Path, folder: &Path, accounts: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).env("LC_ALL", "C");
    if let Some((uid, gid)) = account(accounts) {
        command.uid(uid).gid(gid);
    }
    command
}

/// Runs a program to its end and answers what it printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("a listener has an address").port()
}
