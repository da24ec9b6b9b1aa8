//! Running other programs.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `cargo <args>`, in the root of the workspace.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// The command as a user would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Says what is done now.
pub fn say(text: &str) {
    eprintln!("\n\u{25b6} {text}");
}

/// Says what is run, and runs it.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    say(&shown);
    let status = command.status().with_context(|| format!("can't start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Says what is run, runs it, and hands each line of its standard error (or output) to `see` while it is passed on.
/// Answers whether the command succeeded.
pub fn run_watched(command: &mut Command, stream: Stream, mut see: impl FnMut(&str)) -> Result<bool> {
    let shown = shown(command);
    say(&shown);
    match stream {
        Stream::Out => command.stdout(Stdio::piped()),
        Stream::Err => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().with_context(|| format!("can't start `{shown}`"))?;
    let piped: Box<dyn std::io::Read> = match (child.stdout.take(), child.stderr.take()) {
        (Some(out), _) => Box::new(out),
        (None, Some(err)) => Box::new(err),
        (None, None) => bail!("`{shown}` has no output"),
    };
    let mut lines = BufReader::new(piped);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        eprint!("{text}");
        see(text.trim_end());
        line.clear();
    }
    Ok(child.wait()?.success())
}

/// A stream of a child.
#[derive(Debug, Clone, Copy)]
pub enum Stream {
    Out,
    Err,
}

/// The standard output of a command that succeeds quietly.
pub fn read(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("can't start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8(output.stdout)?)
}
