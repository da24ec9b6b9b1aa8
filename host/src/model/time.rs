//! Instants. Stored and compared as whole microseconds of UTC, so that a round trip through any database is exact.

use std::{fmt, str::FromStr, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: microseconds since 1970-01-01T00:00:00Z, UTC, within the years 1 to 9999.
///
/// As text: RFC 3339 in UTC. Binary formats carry the number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The text is not an RFC 3339 instant between the years 1 and 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an instant; write it as 2026-01-31T06:00:00Z")]
pub struct TimestampError(String);

impl Timestamp {
    const MIN_US: i64 = -62_135_596_800_000_000;
    const MAX_US: i64 = 253_402_300_799_999_999;

    /// The earliest instant that can be told.
    pub const MIN: Self = Self(Self::MIN_US);
    /// The latest instant that can be told.
    pub const MAX: Self = Self(Self::MAX_US);

    /// `us` microseconds since the epoch, or the nearest instant that can be told.
    pub fn from_micros(us: i64) -> Self {
        Self(us.clamp(Self::MIN_US, Self::MAX_US))
    }

    /// Microseconds since the epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// `self` + `duration`, at most the latest instant that can be told.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let us = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(us))
    }

    /// `self` - `duration`, at least the earliest instant that can be told.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let us = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(us))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The same instant for calendar arithmetic.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(instant: DateTime<Utc>) -> Self {
        Self::from_micros(instant.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads RFC 3339 with any offset, or a bare date, which is midnight UTC.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let parsed = DateTime::parse_from_rfc3339(text).map(|instant| instant.with_timezone(&Utc)).or_else(|_| {
            chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .map(|date| date.and_time(chrono::NaiveTime::MIN).and_utc())
        });
        parsed.map(Self::from).map_err(|_| TimestampError(text.chars().take(80).collect()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self::from_micros)
        }
    }
}

/// Where "now" comes from. The engine is handed instants; only drivers hold a clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// The present instant.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
    pub fn now(self) -> Timestamp {
        Utc::now().into()
    }
}

/// A half-open span of time that a dag_run is about: `start` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataInterval {
    pub start: Timestamp,
    pub end: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_are_the_same_instant() {
        for text in ["2026-01-31T06:00:00Z", "1969-12-31T23:59:59.999999Z", "2026-11-21T02:39:00.000001Z"] {
            let instant: Timestamp = text.parse().expect(text);
            assert_eq!(instant.to_string(), text);
            assert_eq!(Timestamp::from_micros(instant.as_micros()), instant);
        }
        assert_eq!("2026-01-31T15:00:00+09:00".parse::<Timestamp>().unwrap().to_string(), "2026-01-31T06:00:00Z");
        assert_eq!("2026-01-31".parse::<Timestamp>().unwrap().to_string(), "2026-01-31T00:00:00Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn arithmetic_stays_within_what_can_be_told() {
        assert_eq!(Timestamp::MAX.after(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.before(Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
    }
}
