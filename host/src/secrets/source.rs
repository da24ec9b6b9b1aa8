//! Where master keys come from: a variable, a file, a command.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use zeroize::Zeroizing;

use super::{SecretsConfig, SecretsError};

/// A key file with more than this is not one.
const MAX_BYTES: u64 = 64 << 10;
/// How long a key command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
const COMMAND_POLL: Duration = Duration::from_millis(20);

/// Keys as text.
pub(super) struct Found {
    text: Zeroizing<String>,
    divider: char,
    /// Where they stand, for errors.
    pub place: String,
}

impl Found {
    /// Each key in base64. Empty lines are none; an empty text between commas is one that is missing.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.text.split(self.divider).filter(|text| self.divider == ',' || !text.trim().is_empty())
    }
}

/// Reads the keys that `config` names. None: it names no place, and there is no key file in `data_dir` yet.
///
/// # Errors
/// If it names two places, or nothing can be read there.
pub(super) fn read(config: &SecretsConfig, data_dir: &Path) -> Result<Option<Found>, SecretsError> {
    let found = match (&config.key, &config.key_file, &config.key_command) {
        (Some(keys), None, None) => Found {
            text: Zeroizing::new(keys.expose().to_owned()),
            divider: ',',
            place: "`AIRLOCK_SECRET_KEY`".to_owned(),
        },
        (None, Some(path), None) => of_file(path)?,
        (None, None, Some(command)) => of_command(command)?,
        (None, None, None) => {
            let path = key_file(data_dir);
            match fs::exists(&path) {
                Ok(true) => of_file(&path)?,
                Ok(false) => return Ok(None),
                Err(source) => return Err(SecretsError::KeyFile { path, source }),
            }
        }
        _ => return Err(SecretsError::SeveralSources),
    };
    Ok(Some(found))
}

/// Makes the key file of `data_dir`, unless it is there by now, and reads it.
///
/// # Errors
/// If it can't be written or read.
pub(super) fn make(data_dir: &Path) -> Result<Found, SecretsError> {
    let path = key_file(data_dir);
    make_key_file(&path).map_err(|source| SecretsError::KeyFile { path: path.clone(), source })?;
    of_file(&path)
}

/// Where keys stand that no setting names.
pub(super) fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("secret.key")
}

fn of_file(path: &Path) -> Result<Found, SecretsError> {
    let failed = |source| SecretsError::KeyFile { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretsError::KeyFileOpen { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(Found { text, divider: '\n', place: format!("the key file `{}`", path.display()) })
}

/// Runs `command`. What it writes to standard error comes to ours; what it prints is shown to nobody.
fn of_command(command: &str) -> Result<Found, SecretsError> {
    let failed = |why: String| SecretsError::KeyCommand { command: command.to_owned(), why };
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = shell.spawn().map_err(|error| failed(error.to_string()))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < COMMAND_TIMEOUT => std::thread::sleep(COMMAND_POLL),
            Ok(None) => {
                // It may have ended just now.
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("it did not end within {} s", COMMAND_TIMEOUT.as_secs())));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    };
    if !status.success() {
        return Err(failed(format!("it ended with {status}")));
    }
    let mut text = Zeroizing::new(String::new());
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    }
    Ok(Found { text, divider: '\n', place: format!("what `{command}` prints") })
}

/// Makes the file with a new key, whole or not at all; leaves one that somebody else made meanwhile.
fn make_key_file(path: &Path) -> std::io::Result<()> {
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
    let text = Zeroizing::new(format!("{}\n", BASE64.encode(*key)));
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = folder.join(format!(".secret.key.{}", uuid::Uuid::new_v4()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let made = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    });
    fs::remove_file(&temporary)?;
    made?;
    File::open(folder)?.sync_all()
}
