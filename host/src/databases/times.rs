//! Dates and times as RFC 3339 writes them, and as databases do.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta, Timelike as _, Utc};

/// What `PostgreSQL` counts from.
const EPOCH: NaiveDate = NaiveDate::from_ymd_opt(2000, 1, 1).expect("it is a date");

/// A time as somebody wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Date(NaiveDate),
    OfDay(NaiveTime),
    Local(NaiveDateTime),
    Instant(DateTime<Utc>),
}

impl Time {
    /// # Errors
    /// If the text is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let instant = || DateTime::parse_from_rfc3339(text).ok().map(|instant| Self::Instant(instant.to_utc()));
        let local = |format| NaiveDateTime::parse_from_str(text, format).ok().map(Self::Local);
        let date = || text.parse().ok().map(Self::Date);
        let of_day = || text.parse().ok().map(Self::OfDay);
        instant()
            .or_else(|| local("%Y-%m-%dT%H:%M:%S%.f"))
            .or_else(|| local("%Y-%m-%d %H:%M:%S%.f"))
            .or_else(date)
            .or_else(of_day)
            .ok_or_else(|| {
                let text: String = text.chars().take(80).collect();
                format!("`{text}` is no time; write it as `2026-01-31`, `12:30:00` or `2026-01-31T12:30:00Z`")
            })
    }

    fn local(self) -> Result<NaiveDateTime, String> {
        match self {
            Self::Date(date) => Ok(date.and_time(NaiveTime::MIN)),
            Self::Local(local) => Ok(local),
            Self::Instant(instant) => Ok(instant.naive_utc()),
            Self::OfDay(_) => Err("a time of day has no date".into()),
        }
    }

    /// As `MySQL` reads it, whose sessions are in UTC.
    pub fn to_mysql(self) -> String {
        let local = |local: NaiveDateTime| local.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
        match self {
            Self::Date(date) => date.to_string(),
            Self::OfDay(time) => time.format("%H:%M:%S%.6f").to_string(),
            Self::Local(time) => local(time),
            Self::Instant(instant) => local(instant.naive_utc()),
        }
    }
}

pub(super) fn of_local(local: NaiveDateTime) -> String {
    local.format("%Y-%m-%dT%H:%M:%S%.f").to_string()
}

pub(super) fn of_instant(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A parameter of type `name`, in the server's binary format: days or microseconds.
///
/// # Errors
/// If the text is no time, or another sort of time.
pub(super) fn to_postgres(name: &str, text: &str) -> Result<Vec<u8>, String> {
    let far = match text {
        "infinity" => Some((i32::MAX, i64::MAX)),
        "-infinity" => Some((i32::MIN, i64::MIN)),
        _ => None,
    };
    if let Some((days, micros)) = far {
        return Ok(if name == "DATE" { days.to_be_bytes().to_vec() } else { micros.to_be_bytes().to_vec() });
    }
    let time = Time::parse(text)?;
    let micros = |local: NaiveDateTime| {
        let since = local - EPOCH.and_time(NaiveTime::MIN);
        since.num_microseconds().ok_or_else(|| "the time is too far away".to_owned())
    };
    match (name, time) {
        ("DATE", time) => {
            let days = (time.local()?.date() - EPOCH).num_days();
            Ok(i32::try_from(days).map_err(|error| error.to_string())?.to_be_bytes().to_vec())
        }
        ("TIME", Time::OfDay(time)) => {
            let micros = i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1_000);
            Ok(micros.to_be_bytes().to_vec())
        }
        ("TIME", _) => Err("a time of day is written as `12:30:00`".into()),
        ("TIMESTAMPTZ", Time::Local(_)) => Err("an instant needs an offset: write it as `2026-01-31T12:30:00Z`".into()),
        (_, time) => Ok(micros(time.local()?)?.to_be_bytes().to_vec()),
    }
}

/// Exactly so many bytes.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes.try_into().map_err(|_| format!("the server sent {} bytes for a value of {N}", bytes.len()))
}

/// # Errors
/// If the server sent something else, or what no calendar has.
pub(super) fn from_postgres(name: &str, bytes: &[u8]) -> Result<String, String> {
    let far = || "the time is too far away; write it as `::text`".to_owned();
    if name == "DATE" {
        let days = i32::from_be_bytes(array(bytes)?);
        return match days {
            i32::MAX => Ok("infinity".into()),
            i32::MIN => Ok("-infinity".into()),
            0.. => {
                EPOCH.checked_add_days(Days::new(u64::from(days.unsigned_abs()))).ok_or_else(far).map(|d| d.to_string())
            }
            _ => {
                EPOCH.checked_sub_days(Days::new(u64::from(days.unsigned_abs()))).ok_or_else(far).map(|d| d.to_string())
            }
        };
    }
    let micros = i64::from_be_bytes(array(bytes)?);
    if name == "TIME" {
        // 24:00:00 is a time of day there, and none here.
        let time = NaiveTime::MIN.overflowing_add_signed(TimeDelta::microseconds(micros)).0;
        return Ok(time.format("%H:%M:%S%.f").to_string());
    }
    match micros {
        i64::MAX => return Ok("infinity".into()),
        i64::MIN => return Ok("-infinity".into()),
        _ => {}
    }
    let local = EPOCH.and_time(NaiveTime::MIN).checked_add_signed(TimeDelta::microseconds(micros)).ok_or_else(far)?;
    Ok(if name == "TIMESTAMPTZ" { of_instant(local.and_utc()) } else { of_local(local) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_they_went() {
        for (name, text) in [
            ("DATE", "2026-01-31"),
            ("DATE", "1999-12-31"),
            ("DATE", "infinity"),
            ("TIME", "12:30:00"),
            ("TIME", "12:30:00.500"),
            ("TIMESTAMP", "2026-01-31T12:30:00"),
            ("TIMESTAMP", "1970-01-01T00:00:00.000001"),
            ("TIMESTAMPTZ", "2026-01-31T12:30:00Z"),
            ("TIMESTAMPTZ", "-infinity"),
        ] {
            assert_eq!(from_postgres(name, &to_postgres(name, text).unwrap()).unwrap(), text, "{name}");
        }
        let shifted = to_postgres("TIMESTAMPTZ", "2026-01-31T21:30:00+09:00").unwrap();
        assert_eq!(from_postgres("TIMESTAMPTZ", &shifted).unwrap(), "2026-01-31T12:30:00Z");
        for (name, bad) in
            [("DATE", "today"), ("TIMESTAMPTZ", "2026-01-31T12:30:00"), ("TIME", "2026-01-31"), ("DATE", "")]
        {
            assert!(to_postgres(name, bad).is_err(), "{name} {bad}");
        }
        assert!(from_postgres("TIMESTAMP", &[0; 4]).is_err());
        assert!(from_postgres("DATE", &i32::MAX.wrapping_sub(1).to_be_bytes()).is_err());
    }

    #[test]
    fn mysql_reads_times_in_utc() {
        let mysql = |text| Time::parse(text).unwrap().to_mysql();
        assert_eq!(mysql("2026-01-31T21:30:00+09:00"), "2026-01-31 12:30:00.000000");
        assert_eq!(mysql("2026-01-31"), "2026-01-31");
        assert_eq!(mysql("12:30:00.5"), "12:30:00.500000");
    }
}
