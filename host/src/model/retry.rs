//! How often a task is tried again, and when.

use std::time::Duration;

use super::spec::NodeSpec;

/// The longest wait when backoff is on. Airflow: 24 h.
const CEILING_S: u64 = 86_400;

/// A task's retry settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Tries after the first.
    pub retries: u32,
    pub delay: Duration,
    /// Each wait is the one before times this; 0 or 1: constant.
    pub backoff: f64,
    pub max_delay: Option<Duration>,
}

impl Retry {
    /// # Errors
    /// If the backoff is not a number of 0 to 1,000.
    pub fn from_spec(node: &NodeSpec) -> Result<Self, String> {
        if !(0.0..=1_000.0).contains(&node.retry_backoff) {
            return Err("retry_backoff must be a number from 0 to 1000".into());
        }
        Ok(Self {
            retries: node.retries,
            delay: Duration::from_millis(node.retry_delay_ms),
            backoff: node.retry_backoff,
            max_delay: node.max_retry_delay_ms.map(Duration::from_millis),
        })
    }

    /// How long to wait after the `failed`-th failure (from 1): what the attempt `said`, if it did. `seed` spreads the
    /// waits of tasks that fail together.
    ///
    /// Without backoff it is the delay, whatever `max_delay` says. With backoff it lies in [m, 2m) seconds, where m is
    /// delay x backoff^(failed - 1), rounded up, at least 1; at most 24 h, then at most `max_delay` (a zero
    /// `max_delay` is none). Airflow: `TaskInstance.next_retry_datetime`.
    pub fn wait(&self, failed: u32, seed: u64, said: Option<Duration>) -> Duration {
        if let Some(said) = said {
            return said;
        }
        if self.backoff == 0.0 || (self.backoff - 1.0).abs() < f64::EPSILON {
            return self.delay;
        }
        let ceiling = Duration::from_secs(CEILING_S).as_secs_f64();
        // Not `powi`, which multiplies: rounded up, its error is a whole second.
        let power = self.backoff.powf(f64::from(failed.saturating_sub(1)));
        // A power that overflows is the ceiling whatever the delay, also if that is zero.
        // Not `as_secs_f64`, which adds seconds and their fraction: the same.
        let delay = self.delay.div_duration_f64(Duration::from_secs(1));
        let base = if power.is_infinite() { ceiling } else { (delay * power).ceil() };
        let base = Duration::from_secs_f64(base.clamp(1.0, ceiling)).as_secs();
        let wait = Duration::from_secs((base + seed % base).min(CEILING_S));
        match self.max_delay {
            Some(max) if !max.is_zero() => wait.min(max),
            Some(_) | None => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct File {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        id: String,
        retry_delay_s: f64,
        multiplier: f64,
        max_retry_delay_s: Option<f64>,
        failed_attempt: u32,
        policy_delay_override_s: Option<f64>,
        expected: Expected,
    }

    #[derive(Deserialize)]
    struct Expected {
        min_s: f64,
        max_s: f64,
        exact: bool,
    }

    #[test]
    fn waits_lie_where_the_peer_puts_them() {
        let text = include_str!("../../../tests/conformance/retry_backoff.json");
        let file: File = serde_json::from_str(text).unwrap();
        for case in file.cases {
            let retry = Retry {
                retries: 0,
                delay: Duration::from_secs_f64(case.retry_delay_s),
                backoff: case.multiplier,
                max_delay: case.max_retry_delay_s.map(Duration::from_secs_f64),
            };
            let said = case.policy_delay_override_s.map(Duration::from_secs_f64);
            let waits: Vec<_> = (0..600_u64)
                .map(|n| retry.wait(case.failed_attempt, n.wrapping_mul(0x9e37_79b9_7f4a_7c15), said).as_secs_f64())
                .collect();
            let Expected { min_s, max_s, exact } = case.expected;
            assert!(waits.iter().all(|wait| (min_s..=max_s).contains(wait)), "{}: {waits:?}", case.id);
            assert_eq!(waits.iter().all(|wait| wait.to_bits() == waits[0].to_bits()), exact, "{}", case.id);
        }
    }

    /// Airflow: 1000 * 1.3 ** 3 is 2197.0 exactly, 1.368 * 10 ** 4 is above 13680; 2.0 ** 1099 overflows before it meets
    /// the delay.
    #[test]
    fn the_power_is_that_of_the_peer() {
        let cases = [
            (1_000_000, 1.3, 4, 2_197),
            (1_368, 10.0, 5, 13_681),
            (3_389, 1_000.0, 2, 3_389),
            (0, 2.0, 1_100, CEILING_S),
            (0, 2.0, 1_024, 1),
            (0, 2.0, 1_025, CEILING_S),
        ];
        for (delay_ms, backoff, failed, base) in cases {
            let retry = Retry { retries: 0, delay: Duration::from_millis(delay_ms), backoff, max_delay: None };
            let what = format!("{delay_ms} ms x {backoff}^({failed} - 1)");
            assert_eq!(retry.wait(failed, 0, None), Duration::from_secs(base), "{what}");
        }
    }

    #[test]
    fn what_the_attempt_said_goes_before_all_settings() {
        let max_delay = Some(Duration::from_mins(1));
        let retry = Retry { retries: 3, delay: Duration::from_secs(10), backoff: 2.0, max_delay };
        for said in [Duration::ZERO, Duration::from_hours(48)] {
            assert_eq!(retry.wait(2, 7, Some(said)), said);
        }
    }

    #[test]
    fn no_setting_overflows() {
        for delay in [Duration::ZERO, Duration::MAX] {
            for backoff in [0.0, 0.5, 1.0, 1_000.0] {
                let retry = Retry { retries: u32::MAX, delay, backoff, max_delay: None };
                for failed in [0, 1, 2, u32::MAX] {
                    let wait = retry.wait(failed, u64::MAX, None);
                    assert!(wait == delay || wait <= Duration::from_secs(CEILING_S));
                }
            }
        }
    }
}
