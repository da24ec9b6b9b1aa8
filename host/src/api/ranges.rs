//! Spans of time that lists are filtered by: `<date>_gte`, `_gt`, `_lte`, `_lt`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use super::extract::Instant;
use crate::{
    model::time::Timestamp,
    store::{Lengths, Range, Spans},
};

macro_rules! ranges {
    ($(#[$what:meta])* $query:ident { $($date:ident: $gte:ident $gt:ident $lte:ident $lt:ident,)* }) => {
        $(#[$what])*
        #[derive(Debug, Clone, Default, Deserialize, IntoParams, ToSchema)]
        #[into_params(parameter_in = Query)]
        pub struct $query {
            $(
                #[param(value_type = Option<DateTime<Utc>>)]
                #[schema(value_type = Option<DateTime<Utc>>)]
                $gte: Option<Instant>,
                #[param(value_type = Option<DateTime<Utc>>)]
                #[schema(value_type = Option<DateTime<Utc>>)]
                $gt: Option<Instant>,
                #[param(value_type = Option<DateTime<Utc>>)]
                #[schema(value_type = Option<DateTime<Utc>>)]
                $lte: Option<Instant>,
                #[param(value_type = Option<DateTime<Utc>>)]
                #[schema(value_type = Option<DateTime<Utc>>)]
                $lt: Option<Instant>,
            )*
        }

        impl $query {
            $(
                pub fn $date(&self) -> Range {
                    range(self.$gte, self.$gt, self.$lte, self.$lt)
                }
            )*
        }
    };
}

ranges!(
    /// Which runs, or task instances of which runs: those of a span of time.
    DateRanges {
        logical_date: logical_date_gte logical_date_gt logical_date_lte logical_date_lt,
        run_after: run_after_gte run_after_gt run_after_lte run_after_lt,
        start_date: start_date_gte start_date_gt start_date_lte start_date_lt,
        end_date: end_date_gte end_date_gt end_date_lte end_date_lt,
    }
);

ranges!(
    /// Which questions, by when they were asked.
    #[expect(clippy::struct_field_names, reason = "they are the parameters")]
    CreatedRange { created_at: created_at_gte created_at_gt created_at_lte created_at_lt, }
);

ranges!(
    /// Which events, by when they were made.
    #[expect(clippy::struct_field_names, reason = "they are the parameters")]
    TimestampRange { timestamp: timestamp_gte timestamp_gt timestamp_lte timestamp_lt, }
);

ranges!(
    /// Which dags, by when the newest run of each started and ended.
    #[expect(clippy::struct_field_names, reason = "they are the parameters")]
    LastRunRanges {
        start_date: dag_run_start_date_gte dag_run_start_date_gt dag_run_start_date_lte dag_run_start_date_lt,
        end_date: dag_run_end_date_gte dag_run_end_date_gt dag_run_end_date_lte dag_run_end_date_lt,
    }
);

ranges!(
    /// Which jobs, by when they began and ended.
    JobRanges {
        start_date: start_date_gte start_date_gt start_date_lte start_date_lt,
        end_date: end_date_gte end_date_gt end_date_lte end_date_lt,
    }
);

/// How long runs, or task instances, took that have ended.
#[derive(Debug, Clone, Default, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[expect(clippy::struct_field_names, reason = "they are the parameters")]
pub struct DurationRange {
    /// Seconds; so for all four.
    #[param(value_type = Option<f64>)]
    #[schema(value_type = Option<f64>)]
    duration_gte: Option<Seconds>,
    #[param(value_type = Option<f64>)]
    #[schema(value_type = Option<f64>)]
    duration_gt: Option<Seconds>,
    #[param(value_type = Option<f64>)]
    #[schema(value_type = Option<f64>)]
    duration_lte: Option<Seconds>,
    #[param(value_type = Option<f64>)]
    #[schema(value_type = Option<f64>)]
    duration_lt: Option<Seconds>,
}

impl DateRanges {
    pub fn with(&self, duration: &DurationRange) -> Spans {
        Spans {
            logical_date: self.logical_date(),
            run_after: self.run_after(),
            start_date: self.start_date(),
            end_date: self.end_date(),
            duration: duration.lengths(),
        }
    }
}

impl DurationRange {
    fn lengths(&self) -> Lengths {
        let moved = |length: Option<Seconds>, by: i64| length.map(|length| length.0.saturating_add(by));
        Lengths {
            gte: moved(self.duration_gte, 0).max(moved(self.duration_gt, 1)),
            lte: [moved(self.duration_lte, 0), moved(self.duration_lt, -1)].into_iter().flatten().min(),
        }
    }
}

/// Seconds, as whole microseconds.
#[derive(Debug, Clone, Copy)]
struct Seconds(i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let length = Duration::try_from_secs_f64(seconds).ok().and_then(|it| i64::try_from(it.as_micros()).ok());
        length.map(Self).ok_or_else(|| serde::de::Error::custom("it must be a number of seconds, 0 or more"))
    }
}

/// Instants are whole microseconds, so that "after" is "from the next one on".
pub fn range(gte: Option<Instant>, gt: Option<Instant>, lte: Option<Instant>, lt: Option<Instant>) -> Range {
    let moved = |instant: Instant, by: i64| Timestamp::from_micros(instant.0.as_micros().saturating_add(by));
    let gte = gte.map(|gte| gte.0);
    let lte = lte.map(|lte| lte.0);
    Range {
        gte: gte.max(gt.map(|gt| moved(gt, 1))),
        lte: [lte, lt.map(|lt| moved(lt, -1))].into_iter().flatten().min(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_and_closed_ends_meet_in_the_narrowest_span() {
        let at = |us| Instant(Timestamp::from_micros(us));
        let us = |range: Range| (range.gte.map(Timestamp::as_micros), range.lte.map(Timestamp::as_micros));
        assert_eq!(us(range(None, None, None, None)), (None, None));
        assert_eq!(us(range(Some(at(5)), Some(at(5)), Some(at(9)), Some(at(9)))), (Some(6), Some(8)));
        assert_eq!(us(range(Some(at(7)), Some(at(5)), None, Some(at(9)))), (Some(7), Some(8)));
    }
}
