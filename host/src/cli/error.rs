//! What a command says when it does not do what it was asked: kind, cause, hint, exit code.

use std::{fmt, process::ExitCode};

/// What went wrong, as far as a script cares. The number is the exit code.
///
/// Success is 0. An interrupted command (Ctrl-C) is ended by the signal: shells show 130.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command was understood and tried, and failed; or the run that was waited for failed.
    Failed = 1,
    /// The arguments, the settings or the input can't be read. Nothing was tried.
    Usage = 2,
    /// The thing does not exist.
    NotFound = 3,
    /// The server read the request and refused it: invalid, or in conflict with what is there.
    Refused = 4,
    /// Not signed in, or not permitted.
    Denied = 5,
    /// The server did not answer, or said that it can't just now.
    Unreachable = 6,
}

/// The table of exit codes, for `airlock --help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, or the run that was waited for failed
  2  wrong arguments, settings or input; nothing was tried
  3  not found
  4  the server refused: invalid, or in conflict with what is there
  5  not signed in, or not permitted
  6  the server did not answer";

/// A command's failure: kind, cause and what to do next.
#[derive(Debug)]
pub struct CliError {
    kind: Kind,
    cause: anyhow::Error,
    hint: Option<String>,
    status: Option<u16>,
}

/// What commands return.
pub type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    pub fn new(kind: Kind, cause: impl Into<anyhow::Error>) -> Self {
        Self { kind, cause: cause.into(), hint: None, status: None }
    }

    /// A failure that has no error behind it.
    pub fn text(kind: Kind, cause: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self::new(kind, anyhow::Error::msg(cause))
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The answer was of this HTTP status.
    #[must_use]
    pub fn of_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Says what it is about, in front of the cause.
    #[must_use]
    pub fn in_front(mut self, what: String) -> Self {
        self.cause = self.cause.context(what);
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {:#}", self.cause)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl From<anyhow::Error> for CliError {
    fn from(cause: anyhow::Error) -> Self {
        Self::new(Kind::Failed, cause)
    }
}

impl From<std::io::Error> for CliError {
    fn from(cause: std::io::Error) -> Self {
        Self::new(Kind::Failed, cause)
    }
}

/// Names a failure's kind where it passes.
pub trait OrFail<T> {
    /// On an error: fails with `kind`, and `what` in front of the cause.
    ///
    /// # Errors
    /// The error that it was.
    fn or_fail(self, kind: Kind, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for std::result::Result<T, E> {
    fn or_fail(self, kind: Kind, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| CliError::new(kind, error.into().context(what())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_cause_chain_and_hint() {
        let inner = std::io::Error::other("disk is gone");
        let error = Err::<(), _>(inner).or_fail(Kind::Failed, || "can't read `x`".into()).unwrap_err().hint("look");
        assert_eq!(error.to_string(), "error: can't read `x`: disk is gone\nhint: look");
    }
}
