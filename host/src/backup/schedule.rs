//! Backups that a server makes by itself.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::watch;

use super::{BackupError, Plan, create, list};
use crate::{
    blobs::Blobs,
    model::{
        cron::Cron,
        time::{Clock, Timestamp},
        warning::Failing,
    },
    store::Store,
    telemetry::Metrics,
};

/// How soon one that failed is tried again: at first, and then twice as late each time, up to a bound.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LAST_RETRY: Duration = Duration::from_mins(5);
/// How long it sleeps at a time: clocks are set.
const LONGEST_SLEEP: Duration = Duration::from_mins(10);

/// How far the clocks of machines may be apart.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);

/// When and where backups are made.
#[derive(Debug)]
pub struct Schedule {
    pub cron: Cron,
    pub backups: Blobs,
    /// Backups that stay; none: all.
    pub keep: Option<NonZeroU32>,
    /// Told since when they fail; none: they don't.
    pub failing: watch::Sender<Option<Failing>>,
    pub metrics: Metrics,
}

/// When the next backup is due: the first at once, any other at the first time of the schedule after the one before. So one that
/// was missed is due.
fn due(cron: &Cron, last: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let last = last.filter(|last| has_been(*last, now));
    last.map_or(now, |last| cron.next_after(last).unwrap_or(Timestamp::MAX))
}

/// Whether `made` is no time of a clock that was ahead: until then there would be no other backup.
fn has_been(made: Timestamp, now: Timestamp) -> bool {
    made <= now.after(CLOCKS_DIFFER)
}

/// How long to wait after so many failures in a row, one at least.
fn pause(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LAST_RETRY)
}

/// Makes backups until it is dropped.
pub async fn on_schedule(store: Store, data_dir: PathBuf, blobs: Blobs, schedule: Schedule) {
    let (mut last, mut failures) = (None, 0_u32);
    loop {
        let made = make_if_due((&store, &data_dir), &blobs, &schedule, &mut last, Clock.now()).await;
        let sleep = match made {
            Ok(next) => {
                failures = 0;
                schedule.failing.send_replace(None);
                next.since(Clock.now()).min(LONGEST_SLEEP)
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let pause = pause(failures);
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, again_s = pause.as_secs(), "the backup can't be made now; this is tried again");
                schedule.metrics.backup_failed();
                let now = Clock.now();
                schedule.failing.send_modify(|failing| *failing = failing.or(Some(Failing { since: now })));
                pause
            }
        };
        tokio::time::sleep(sleep).await;
    }
}

/// Answers when the next is due. `last`: when the last one was made, once that is known.
async fn make_if_due(
    (store, data_dir): (&Store, &Path),
    blobs: &Blobs,
    schedule: &Schedule,
    last: &mut Option<Timestamp>,
    now: Timestamp,
) -> Result<Timestamp, BackupError> {
    if last.is_none() {
        let made = list(&schedule.backups).await?.into_iter().map(|manifest| manifest.created_at);
        *last = made.filter(|made| has_been(*made, now)).max();
        schedule.metrics.backup_is_of(*last);
    }
    let next = due(&schedule.cron, *last, now);
    if next > now {
        return Ok(next);
    }
    let plan = Plan { store, data_dir, blobs, backups: &schedule.backups, key: None, keep: schedule.keep };
    let created = create(&plan, now).await?;
    tracing::info!(
        backup = created.manifest.id,
        objects = created.manifest.objects,
        copied = created.copied,
        copied_bytes = created.copied_bytes,
        missing = created.manifest.missing.len(),
        pruned = created.pruned,
        "a backup was made"
    );
    *last = Some(now);
    schedule.metrics.backup_made();
    schedule.metrics.backup_is_of(*last);
    Ok(due(&schedule.cron, *last, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_is_tried_soon_and_then_later() {
        let seconds: Vec<_> = (1..=8).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(pause(u32::MAX), LAST_RETRY);
    }

    #[test]
    fn the_first_is_due_at_once_and_one_that_was_missed_too() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let cron = Cron::new("15 3 * * *", chrono_tz::UTC).unwrap();
        let now = at("2026-11-21T12:00:00Z");
        assert_eq!(due(&cron, None, now), now);
        assert_eq!(due(&cron, Some(at("2026-11-21T03:15:04Z")), now), at("2026-11-22T03:15:00Z"));
        assert!(due(&cron, Some(at("2026-11-19T03:15:04Z")), now) < now);
        assert_eq!(due(&cron, Some(at("2027-11-21T12:00:00Z")), now), now, "that clock was ahead");
        assert!(due(&cron, Some(at("2026-11-21T12:00:02Z")), now) > now);
    }
}
