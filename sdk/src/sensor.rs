//! Tasks that wait for something: they look, and are started again later if it is not there.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    context::Context,
    error::{Error, Fatal, Later, Skip},
};

/// What a look at the world found. The result of a `#[task(sensor)]`.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// /// Waits until somebody sets the variable, for a day at most.
/// #[task(sensor, poke_interval = "5m", poke_timeout = "1d", soft_fail = true)]
/// fn target(key: &str) -> Result<Poke<String>> {
///     Ok(variables::find(key)?.map_or(Poke::NotYet, Poke::Done))
/// }
///
/// #[task]
/// fn compute(target: &str) { info!("{target}") }
///
/// #[dag(variables = ["target"])]
/// fn on_target(dag: &Dag) {
///     compute(dag, target(dag, "target")); // the task's result is the text
/// }
/// # use airlock_sdk::testing::{Host, TaskState};
/// # let run = Host::new().run_dag::<on_target>().unwrap();
/// # assert_eq!((run.state("target"), run.state("compute")), (TaskState::UpForReschedule, TaskState::None));
/// # let run = Host::new().variable("target", "7").run_dag::<on_target>().unwrap();
/// # assert_eq!(run.result::<String>("target").unwrap(), "7");
/// ```
///
/// Between two pokes the task holds nothing: no sandbox, no thread, no slot of its pool. Airflow: a sensor in mode
/// `reschedule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poke<T = ()> {
    /// It is there. The value is the task's result.
    Done(T),
    /// It is not there yet: look again later.
    NotYet,
}

impl<T> From<Option<T>> for Poke<T> {
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::NotYet, Self::Done)
    }
}

impl From<bool> for Poke {
    fn from(is_there: bool) -> Self {
        if is_there { Self::Done(()) } else { Self::NotYet }
    }
}

/// How a sensor pokes: what the macro's arguments say.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Sensor {
    pub poke_interval_ms: u64,
    /// Waits grow with the time that has passed, so that each is about as long as all before it.
    pub exponential_backoff: bool,
    /// The longest wait.
    pub max_wait_ms: Option<u64>,
    /// How long it waits in all, from the try's first start.
    pub poke_timeout_ms: u64,
    /// Whether it is skipped, not failed, when it has waited so long.
    pub soft_fail: bool,
}

impl Sensor {
    /// Airflow's: every minute, for a week.
    pub const DEFAULT: Self = Self {
        poke_interval_ms: 60_000,
        exponential_backoff: false,
        max_wait_ms: None,
        poke_timeout_ms: 7 * 24 * 3_600_000,
        soft_fail: false,
    };

    /// How a poke ends that found nothing.
    pub fn not_yet(&self, ctx: &Context) -> Error {
        #[expect(clippy::disallowed_methods, reason = "tasks have no clock but WASI's")]
        self.not_yet_at(ctx.started_at(), Utc::now())
    }

    fn not_yet_at(&self, started_at: DateTime<Utc>, now: DateTime<Utc>) -> Error {
        let waited = (now - started_at).to_std().unwrap_or_default();
        let timeout = Duration::from_millis(self.poke_timeout_ms);
        let Some(left) = timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
            let message = format!("what it waits for was not there within {} s", timeout.as_secs_f64());
            return if self.soft_fail { Skip::because(message).into() } else { Fatal::new(message).into() };
        };
        let mut wait = Duration::from_millis(self.poke_interval_ms);
        if self.exponential_backoff {
            wait = wait.max(waited);
        }
        wait = wait.min(self.max_wait_ms.map_or(Duration::MAX, Duration::from_millis)).min(left);
        let wait = chrono::TimeDelta::from_std(wait).unwrap_or(chrono::TimeDelta::MAX);
        Later::at(now.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn next(sensor: Sensor, now: i64) -> i64 {
        let error = sensor.not_yet_at(at(0), at(now));
        (error.find::<Later>().unwrap().at - at(0)).num_seconds()
    }

    #[test]
    fn pokes_come_at_the_interval_or_further_and_further_apart() {
        let sensor = Sensor { poke_interval_ms: 10_000, poke_timeout_ms: 1_000_000, ..Sensor::DEFAULT };
        assert_eq!([next(sensor, 0), next(sensor, 50)], [10, 60]);
        let backoff = Sensor { exponential_backoff: true, max_wait_ms: Some(60_000), ..sensor };
        assert_eq!([next(backoff, 0), next(backoff, 10), next(backoff, 20), next(backoff, 100)], [10, 20, 40, 160]);
    }

    #[test]
    fn the_last_poke_is_at_the_end_and_then_it_fails_or_is_skipped() {
        let sensor = Sensor { poke_interval_ms: 10_000, poke_timeout_ms: 25_000, ..Sensor::DEFAULT };
        assert_eq!(next(sensor, 20), 25);
        assert!(sensor.not_yet_at(at(0), at(25)).is_fatal());
        let soft = Sensor { soft_fail: true, ..sensor };
        assert!(soft.not_yet_at(at(0), at(30)).find::<Skip>().is_some());
        assert_eq!(next(sensor, -5), 5, "a clock that was set back");
    }
}
