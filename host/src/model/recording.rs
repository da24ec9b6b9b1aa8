//! Which attempts are recorded, so that they can be replayed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which attempts are recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recording {
    #[default]
    Off,
    /// Those that failed.
    Failure,
    Always,
}

impl Recording {
    /// Whether the recording of an attempt that is over is kept.
    pub fn keeps(self, failed: bool) -> bool {
        match self {
            Self::Off => false,
            Self::Failure => failed,
            Self::Always => true,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Failure => "failure",
            Self::Always => "always",
        }
    }
}

impl std::str::FromStr for Recording {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Off, Self::Failure, Self::Always]
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not one of `off`, `failure` and `always`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_follows_from_the_word() {
        let kept = |word: &str| word.parse::<Recording>().map(|word| (word.keeps(true), word.keeps(false)));
        assert_eq!(kept("off"), Ok((false, false)));
        assert_eq!(kept("failure"), Ok((true, false)));
        assert_eq!(kept("always"), Ok((true, true)));
        assert!(kept("on").unwrap_err().contains("`failure`"));
    }
}
