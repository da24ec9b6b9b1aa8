//! Names that users choose. Each is a type of its own, so that a run id can't stand where a dag id should.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

/// The longest name in bytes. Airflow: 250 for dag, run and task ids.
pub const MAX_NAME_BYTES: usize = 250;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{shown}` is not valid: {why}")]
pub struct NameError {
    /// Which sort of name it should have been, as `dag id`.
    pub kind: &'static str,
    /// The text, cut to a length that can be shown.
    pub shown: String,
    /// What is wrong with it and what is allowed.
    pub why: Cow<'static, str>,
}

fn check(kind: &'static str, text: &str, extra: &[char]) -> Result<(), NameError> {
    let why: Cow<'static, str> = if text.is_empty() {
        "it is empty".into()
    } else if text.len() > MAX_NAME_BYTES {
        "it is longer than 250 bytes".into()
    } else if !text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c) || extra.contains(&c)) {
        allowed(extra).into()
    } else if text.contains("..") || text == "." {
        "it may not hold `..` or be `.`".into()
    } else {
        return Ok(());
    };
    Err(NameError { kind, shown: text.chars().take(80).collect(), why })
}

/// What names may hold that may also hold `extra`, for people.
fn allowed(extra: &[char]) -> String {
    let mut all = "letters, digits, `_`, `-`".to_owned();
    let mut last = "`.`".to_owned();
    for c in extra {
        let next = if *c == ' ' { "spaces".to_owned() } else { format!("`{c}`") };
        all = format!("{all}, {last}");
        last = next;
    }
    format!("it may hold {all} and {last} only")
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $extra:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// # Errors
            /// If `text` is empty, too long, or holds a character that is not allowed.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check($kind, text, $extra)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// Names a dag in the installation.
    DagId, "dag id", &[]);
name!(
    /// Names a dag_run of a dag. Airflow: `^[A-Za-z0-9_.~:+-]+$`, as `scheduled__2026-01-01T00:00:00+00:00`.
    RunId, "run id", &['~', ':', '+']);
name!(
    /// Names a task (a node of a dag). Tasks of a group are `group.task`.
    TaskId, "task id", &[]);
name!(
    /// Names an entry (a task type) of a component.
    EntryName, "entry name", &[]);
name!(
    /// Names a component for dags in YAML, as `http` in `uses: http/get`.
    ComponentName, "component name", &[]);
name!(
    /// Names an XCom of a task instance. `return_value` is the task's result.
    XComKey, "xcom key", &[]);
name!(
    /// Names a variable. `/` divides parts, so that a prefix can be granted.
    VariableKey, "variable key", &['/', ' ', ':']);
name!(
    /// Names a connection.
    ConnectionId, "connection id", &[]);
name!(
    /// Names an asset in the installation. Often its uri.
    AssetName, "asset name", &['/', ':', ' ', '~', '+', '@', '=', '%', '#', '?', '&', ',']);
name!(
    /// Names a pool of slots.
    PoolName, "pool name", &[' ']);
name!(
    /// Names a queue: what workers serve, and where tasks wait for one of them.
    QueueName, "queue name", &[]);

impl XComKey {
    /// The key of a task's result. Airflow: `return_value`.
    pub fn return_value() -> Self {
        Self("return_value".into())
    }
}

impl PoolName {
    /// The pool of tasks that name none. Airflow: `default_pool`.
    pub const DEFAULT: &'static str = "default_pool";

    /// The pool of tasks that name none.
    pub fn default_pool() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl QueueName {
    /// The queue of tasks that name none. Airflow: `operators.default_queue`.
    pub const DEFAULT: &'static str = "default";
}

impl Default for QueueName {
    /// The queue of tasks that name none.
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

/// The SHA-256 of a component's bytes: its identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError {
            kind: "digest",
            shown: text.chars().take(80).collect(),
            why: "it must be 64 hexadecimal digits (SHA-256)".into(),
        };
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_open_paths_or_pages_are_refused() {
        for bad in ["", "..", ".", "a/../b", "a/b", "<script>", "a b", "a\0", "ä", &"x".repeat(251)] {
            assert!(DagId::new(bad).is_err(), "{bad}");
            assert!(TaskId::new(bad).is_err(), "{bad}");
        }
        for good in ["a", "a.b", "A-1_2", &"x".repeat(250)] {
            assert!(DagId::new(good).is_ok(), "{good}");
        }
        assert!(RunId::new("scheduled__2026-01-01T00:00:00+00:00").is_ok());
        assert!(VariableKey::new("reports/target").is_ok());
        assert!(VariableKey::new("reports/../x").is_err());
    }

    #[test]
    fn a_name_that_is_refused_is_told_what_it_may_hold() {
        let why = |error: Option<NameError>| error.expect("it is refused").why;
        assert_eq!(why(DagId::new("a/b").err()), "it may hold letters, digits, `_`, `-` and `.` only");
        assert_eq!(why(RunId::new("a/b").err()), "it may hold letters, digits, `_`, `-`, `.`, `~`, `:` and `+` only");
        assert_eq!(why(PoolName::new("a/b").err()), "it may hold letters, digits, `_`, `-`, `.` and spaces only");
        let key = why(VariableKey::new("a?").err());
        assert_eq!(key, "it may hold letters, digits, `_`, `-`, `.`, `/`, spaces and `:` only");
    }

    #[test]
    fn a_digest_reads_back_what_it_shows() {
        let digest = Digest([0xab; 32]);
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert!("ab".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }
}
