//! How a task fails, skips itself or asks for another time.

use std::{error::Error as StdError, fmt, io, time::Duration};

use chrono::{DateTime, Utc};

use crate::{approval::Question, dags::Condition, http::StatusError};

type Boxed = Box<dyn StdError + Send + Sync + 'static>;

/// What a task or a call of this crate answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an attempt did not succeed. `?` makes it from any [`std::error::Error`].
///
/// An attempt that ends with an error is tried again if its task has tries left, unless somewhere in the
/// error's chain of causes stands
/// - a [`Fatal`]: it fails at once;
/// - a [`Skip`]: the task instance becomes skipped;
/// - a [`Later`]: it is started again at that instant, with the same try number;
/// - a [`HostError`] that no other try can mend, as a grant that is missing: it fails at once.
///
/// A [`Retry`] in the chain says how long to wait before that other try.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// fn rows(text: &str) -> Result<u32> {
///     let rows = text.trim().parse().context("the count of rows")?;
///     ensure!(rows > 0, "there are no rows");
///     Ok(rows)
/// }
///
/// assert_eq!(rows("many").unwrap_err().to_string(), "the count of rows: invalid digit found in string");
/// assert_eq!(rows("0").unwrap_err().to_string(), "there are no rows");
/// ```
pub struct Error(Boxed);

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(Box::new(Message { text: message.to_string(), source: None }))
    }

    /// An error of another kind than `std::error::Error`, as `anyhow::Error` is.
    pub fn from_boxed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// The same error with `text` before it: what was tried when it happened.
    #[must_use]
    pub fn context(self, text: impl fmt::Display) -> Self {
        Self(Box::new(Message { text: text.to_string(), source: Some(self.0) }))
    }

    /// The error and its causes, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let first: &(dyn StdError + 'static) = &*self.0;
        std::iter::successors(Some(first), |error| next_cause(*error))
    }

    /// The outermost `E` in the chain of causes.
    pub fn find<E: StdError + 'static>(&self) -> Option<&E> {
        self.chain().find_map(|error| error.downcast_ref())
    }

    /// How long to wait before the next try, where the error says so: the outermost [`Retry`], or what a server that answered 429 or
    /// 503 asked for (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        let said = self.find::<Retry>().map(|retry| retry.after);
        said.or_else(|| self.find::<StatusError>().and_then(|refusal| refusal.retry_after))
    }

    /// Whether another try can't help.
    pub(crate) fn is_fatal(&self) -> bool {
        self.find::<Fatal>().is_some() || self.find::<HostError>().is_some_and(HostError::is_fatal)
    }
}

/// `io::Error` hides the error it was made of: its `source` is that error's source.
fn next_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

impl fmt::Display for Error {
    /// Writes the error and its causes on a line, divided by `: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = String::new();
        for error in self.chain() {
            let text = error.to_string();
            // Many errors repeat their cause in their own text.
            if before.is_empty() {
                f.write_str(&text)?;
            } else if text.is_empty() || before.ends_with(&text) {
                continue;
            } else {
                write!(f, ": {text}")?;
            }
            before = text;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

#[derive(Debug)]
struct Message {
    text: String,
    source: Option<Boxed>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Message {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}

/// Fails the task instance without another try.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// #[task(retries = 3)]
/// fn load(path: &str) -> Result<u64> {
///     if path.is_empty() {
///         return Err(Fatal::new("the path is empty").into());
///     }
///     Ok(path.parse().map_err(Fatal::because)?)
/// }
/// ```
#[derive(Debug)]
pub struct Fatal {
    text: String,
    source: Option<Boxed>,
}

impl Fatal {
    /// Fails with `message`.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { text: message.to_string(), source: None }
    }

    /// Fails because of `error`.
    pub fn because(error: impl Into<Error>) -> Self {
        let error: Error = error.into();
        Self { text: error.0.to_string(), source: Some(error.0) }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Fatal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The text is that of the source, so the chain goes on below it.
        self.source.as_deref().map(|error| error as _)
    }
}

/// Fails the attempt, and says how long to wait before the next try, instead of what the task's `retry_delay`, `backoff` and
/// `max_retry_delay` make. It is no try more than the task's `retries`.
///
/// ```
/// use airlock_sdk::{prelude::*, testing::Host};
/// use std::time::Duration;
///
/// #[task(retries = 5, retry_delay = "1s")]
/// fn load(quota: u32) -> Result<u32> {
///     if quota == 0 {
///         return Err(Retry::after(Duration::from_mins(10), "the quota is used up").into());
///     }
///     Ok(quota)
/// }
///
/// let error = Host::new().run(|_| load::run(0)).unwrap_err();
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(600)));
/// assert_eq!(error.to_string(), "the quota is used up");
/// ```
///
/// Airflow: a `RetryPolicy` with a delay.
#[derive(Debug)]
pub struct Retry {
    pub(crate) after: Duration,
    text: String,
    source: Option<Boxed>,
}

impl Retry {
    /// Fails with `message`; the next try starts after `delay`.
    pub fn after(delay: Duration, message: impl fmt::Display) -> Self {
        Self { after: delay, text: message.to_string(), source: None }
    }

    /// Fails because of `error`; the next try starts after `delay`.
    pub fn because(error: impl Into<Error>, delay: Duration) -> Self {
        let error: Error = error.into();
        Self { after: delay, text: error.0.to_string(), source: Some(error.0) }
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Retry {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The text is that of the source, so the chain goes on below it.
        self.source.as_deref().map(|error| error as _)
    }
}

/// Ends the attempt with the task instance skipped; what follows it is skipped as its trigger rule says.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// #[task]
/// fn report(rows: Vec<u32>) -> Result<String> {
///     if rows.is_empty() {
///         return Err(Skip::because("there is nothing to report").into());
///     }
///     Ok(format!("{} rows", rows.len()))
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skip {
    pub(crate) reason: Option<String>,
}

impl Skip {
    /// Skips without a word.
    pub fn new() -> Self {
        Self::default()
    }

    /// Skips and says why.
    pub fn because(reason: impl fmt::Display) -> Self {
        Self { reason: Some(reason.to_string()) }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_deref().unwrap_or("skipped"))
    }
}

impl StdError for Skip {}

/// What a task waits for, besides an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Awaited {
    Run(Condition),
    /// An event that is later than `since`.
    Asset {
        asset: String,
        since: DateTime<Utc>,
    },
    /// Somebody's answer.
    Approval(Question),
}

/// Frees everything that the attempt holds and starts the task again at an instant, with the same try number.
///
/// Airflow: a sensor in mode `reschedule`.
///
/// ```
/// use airlock_sdk::prelude::*;
/// use std::time::Duration;
///
/// #[task]
/// fn wait_for_file(ctx: &Context, name: &str) -> Result<()> {
///     if variables::find(name)?.is_none() {
///         return Err(Later::after(Duration::from_secs(60)).into());
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    pub(crate) at: DateTime<Utc>,
    /// Or as soon as this has come.
    pub(crate) awaited: Option<Box<Awaited>>,
}

impl Later {
    /// Starts again at `at`.
    pub fn at(at: DateTime<Utc>) -> Self {
        Self { at, awaited: None }
    }

    /// Starts again when this has come, or at `at` at the latest.
    pub(crate) fn on(awaited: Awaited, at: DateTime<Utc>) -> Self {
        Self { at, awaited: Some(Box::new(awaited)) }
    }

    /// Starts again after `delay`.
    pub fn after(delay: Duration) -> Self {
        #[expect(clippy::disallowed_methods, reason = "tasks have no clock but WASI's")]
        let now = Utc::now();
        let delay = chrono::TimeDelta::from_std(delay).unwrap_or(chrono::TimeDelta::MAX);
        Self::at(now.checked_add_signed(delay).unwrap_or(DateTime::<Utc>::MAX_UTC))
    }
}

impl fmt::Display for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.awaited.as_deref() {
            Some(Awaited::Run(condition)) => return write!(f, "waits for dag `{}`", condition.dag_id),
            Some(Awaited::Asset { asset, .. }) => return write!(f, "waits for asset `{asset}`"),
            Some(Awaited::Approval(question)) => return write!(f, "waits for an answer: {}", question.subject),
            None => {}
        }
        write!(f, "to be started again at {}", self.at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }
}

impl StdError for Later {}

/// Why Airlock did not do what a task asked of it. The text names the thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostError {
    /// The dag was not granted this; the text names the missing grant, as `variable:reports/target`.
    Denied(String),
    /// It does not exist.
    NotFound(String),
    /// It is larger than a limit.
    TooLarge(String),
    /// The storage or the peer could not be reached just now.
    Unavailable(String),
    /// The request makes no sense.
    Invalid(String),
}

impl HostError {
    /// Whether another try of the same code is bound to fail too.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Denied(_) | Self::TooLarge(_) | Self::Invalid(_) => true,
            Self::NotFound(_) | Self::Unavailable(_) => false,
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "denied: {text}"),
            Self::NotFound(text) => write!(f, "not found: {text}"),
            Self::TooLarge(text) => write!(f, "too large: {text}"),
            Self::Unavailable(text) => write!(f, "unavailable: {text}"),
            Self::Invalid(text) => write!(f, "invalid: {text}"),
        }
    }
}

impl StdError for HostError {}

impl From<HostError> for io::Error {
    fn from(error: HostError) -> Self {
        Self::other(error)
    }
}

/// `None` for [`HostError::NotFound`].
pub(crate) fn found<T>(result: std::result::Result<T, HostError>) -> std::result::Result<Option<T>, HostError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(HostError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Of a `None` that has no other words.
const MISSING: &str = "a value that must be there is missing";

/// Words for an error: what was tried, or that no other try helps. A `None` becomes an error that says the words.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// let error = "x".parse::<u32>().with_context(|| format!("row {}", 3)).unwrap_err();
/// assert_eq!(error.to_string(), "row 3: invalid digit found in string");
/// ```
pub trait ResultExt<T> {
    /// Puts `text` before the error: what was tried when it happened.
    ///
    /// # Errors
    /// The error itself, with `text`.
    fn context(self, text: impl fmt::Display) -> Result<T>;

    /// As [`context`](Self::context), with a text that is made only if it is needed.
    ///
    /// # Errors
    /// The error itself, with the text.
    fn with_context<D: fmt::Display>(self, text: impl FnOnce() -> D) -> Result<T>;

    /// Makes an error one that no other try helps; see [`Fatal`].
    ///
    /// # Errors
    /// The error itself, as [`Fatal`].
    fn fatal(self) -> Result<T>;

    /// Makes the next try, if there is one, start after `delay`; see [`Retry`].
    ///
    /// # Errors
    /// The error itself, as [`Retry`].
    fn retry_after(self, delay: Duration) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for std::result::Result<T, E> {
    fn context(self, text: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(text))
    }

    fn with_context<D: fmt::Display>(self, text: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.into().context(text()))
    }

    fn fatal(self) -> Result<T> {
        self.map_err(|error| Fatal::because(error).into())
    }

    fn retry_after(self, delay: Duration) -> Result<T> {
        self.map_err(|error| Retry::because(error, delay).into())
    }
}

impl<T> ResultExt<T> for Option<T> {
    fn context(self, text: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error::new(text))
    }

    fn with_context<D: fmt::Display>(self, text: impl FnOnce() -> D) -> Result<T> {
        self.ok_or_else(|| Error::new(text()))
    }

    fn fatal(self) -> Result<T> {
        self.ok_or_else(|| Fatal::new(MISSING).into())
    }

    fn retry_after(self, delay: Duration) -> Result<T> {
        self.ok_or_else(|| Retry::after(delay, MISSING).into())
    }
}

/// Ends the function with an [`Error`] that says the formatted text.
///
/// ```
/// # use airlock_sdk::prelude::*;
/// fn never() -> Result<()> {
///     bail!("no file of {}", 2026)
/// }
/// assert_eq!(never().unwrap_err().to_string(), "no file of 2026");
/// ```
#[macro_export]
macro_rules! bail {
    ($($text:tt)+) => { return ::core::result::Result::Err($crate::Error::new(::core::format_args!($($text)+)).into()) };
}

/// Ends the function with an [`Error`] that says the formatted text, unless the condition holds.
///
/// ```
/// # use airlock_sdk::prelude::*;
/// fn positive(number: i32) -> Result<i32> {
///     ensure!(number > 0, "{number} is not positive");
///     Ok(number)
/// }
/// assert_eq!(positive(-1).unwrap_err().to_string(), "-1 is not positive");
/// ```
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => { if !$condition { $crate::bail!($($text)+) } };
}

/// How the code that `#[task]` makes turns any error of a task into an [`Error`]: by `Into<Error>`, else by
/// `Into<Box<dyn std::error::Error>>`, as `anyhow::Error` and `String` have it, else not at all, with a reason. (Method
/// resolution takes the one that has the most references around it.)
#[doc(hidden)]
pub mod kind {
    use std::marker::PhantomData;

    use super::{Error, StdError};

    /// The type of an error.
    #[derive(Debug)]
    pub struct Of<E>(PhantomData<E>);

    impl<E> Of<E> {
        pub fn this(_: &E) -> Self {
            Self(PhantomData)
        }
    }

    #[derive(Debug)]
    pub struct Own;

    pub trait OwnKind: Sized {
        fn airlock_kind(&self) -> Own {
            Own
        }
    }
    impl<E: Into<Error>> OwnKind for &&Of<E> {}

    impl Own {
        pub fn error<E: Into<Error>>(self, error: E) -> Error {
            error.into()
        }
    }

    #[derive(Debug)]
    pub struct Foreign;

    pub trait ForeignKind: Sized {
        fn airlock_kind(&self) -> Foreign {
            Foreign
        }
    }
    impl<E: Into<Box<dyn StdError + Send + Sync>>> ForeignKind for &Of<E> {}

    impl Foreign {
        pub fn error<E: Into<Box<dyn StdError + Send + Sync>>>(self, error: E) -> Error {
            Error::from_boxed(error)
        }
    }

    #[derive(Debug)]
    pub struct Unknown;

    pub trait UnknownKind: Sized {
        fn airlock_kind(&self) -> Unknown {
            Unknown
        }
    }
    impl<E> UnknownKind for Of<E> {}

    impl Unknown {
        pub fn error<E: TaskError>(self, error: E) -> Error {
            error.into_error()
        }
    }

    /// What the two kinds above are; it is here for its message.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` can't be a task's error",
        label = "a task can't fail with this",
        note = "return `airlock_sdk::Result<T>`: `?` makes its error of any `std::error::Error`",
        note = "a boxed error is `Box<dyn std::error::Error + Send + Sync>`"
    )]
    pub trait TaskError {
        fn into_error(self) -> Error;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_written_outermost_first_and_without_repeats() {
        let inner = io::Error::other(HostError::Denied("variable:a".into()));
        let error = Error::from(inner).context("reading `a`");
        assert_eq!(error.to_string(), "reading `a`: denied: variable:a");
        assert!(error.is_fatal());
    }

    #[test]
    fn what_ends_an_attempt_is_found_behind_context_and_anyhow() {
        let error = Error::from(Skip::because("holiday")).context("monday");
        assert_eq!(error.find::<Skip>(), Some(&Skip::because("holiday")));
        let error = Error::from_boxed(anyhow::Error::new(Fatal::new("no")).context("outer"));
        assert!(error.is_fatal());
        assert_eq!(error.to_string(), "outer: no");
        assert!(!Error::from(HostError::Unavailable("storage".into())).is_fatal());
        let retry =
            |text: &str| "x".parse::<u8>().context(text.to_owned()).retry_after(Duration::from_secs(7)).unwrap_err();
        let error = retry("rows").context("outer");
        assert_eq!(
            (error.to_string().as_str(), error.is_fatal()),
            ("outer: rows: invalid digit found in string", false)
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(Error::new("plain").retry_after(), None);
        assert_eq!(
            Error::from(Fatal::because("x".parse::<u8>().unwrap_err())).to_string(),
            "invalid digit found in string"
        );
    }
}
