//! What an operator should know of at once: from what the process knows already to sentences.

use std::{fmt, time::Duration};

use super::{
    ids::{DagId, QueueName, RunId, TaskId},
    time::Timestamp,
};

/// A loop that has not gone round for so long is late. Airflow: `scheduler_health_check_threshold`, 30 s.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);
/// Statements that take longer are slow.
pub const SLOW_STATEMENT: Duration = Duration::from_secs(1);
/// How long a slow statement is told of.
pub const SLOW_STATEMENTS_KEPT: Duration = Duration::from_mins(10);
/// How far the clock may be behind runs that were made by one that was ahead.
const CLOCK_BEHIND: Duration = Duration::from_mins(1);
/// Tasks of a queue that nobody serves wait so long before that is told.
const UNSERVED: Duration = Duration::from_mins(1);
/// A task is not slow before it has run so long,
const SLOW_TASK: Duration = Duration::from_mins(5);
/// and so many times as long as ever of late.
const SLOW_TASK_TIMES: u32 = 3;
/// How many runs of a task are remembered, and how many there must be before it is said to be slow.
pub const REMEMBERED_TRIES: usize = 10;
pub const NEEDED_TRIES: usize = 3;
/// Slow tasks that are told one by one.
const MAX_TASKS: usize = 10;
/// A disk with less is nearly full: so many bytes, or one part of so many.
const LEAST_FREE_BYTES: u64 = 512 << 20;
const LEAST_FREE_PART: u64 = 20;

/// What sort of warning it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WarningKind {
    SchedulerLate,
    ClockBehind,
    DatabaseFailing,
    StorageFailing,
    DiskNearlyFull,
    BackupFailing,
    QueueUnserved,
    SlowTask,
    SlowStatements,
}

impl WarningKind {
    pub const ALL: [Self; 9] = [
        Self::SchedulerLate,
        Self::ClockBehind,
        Self::DatabaseFailing,
        Self::StorageFailing,
        Self::DiskNearlyFull,
        Self::BackupFailing,
        Self::QueueUnserved,
        Self::SlowTask,
        Self::SlowStatements,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SchedulerLate => "scheduler_late",
            Self::ClockBehind => "clock_behind",
            Self::DatabaseFailing => "database_failing",
            Self::StorageFailing => "storage_failing",
            Self::DiskNearlyFull => "disk_nearly_full",
            Self::BackupFailing => "backup_failing",
            Self::QueueUnserved => "queue_unserved",
            Self::SlowTask => "slow_task",
            Self::SlowStatements => "slow_statements",
        }
    }
}

/// One sentence, and since when it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub kind: WarningKind,
    pub text: String,
    pub since: Timestamp,
    /// The task instance that it is about, if it is about one.
    pub task: Option<TaskPlace>,
}

/// Names a task instance to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPlace {
    pub dag_id: DagId,
    pub run_id: RunId,
    pub task_id: TaskId,
    pub map_index: i32,
}

/// What the process knows.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// When the scheduler's loop last went round.
    pub heartbeat: Timestamp,
    /// The end of the newest interval that a timetable made a run of.
    pub scheduled_until: Timestamp,
    pub database: Option<Failing>,
    pub storage: Option<Failing>,
    /// Of the data directory.
    pub disk: Option<Disk>,
    /// The backup that the server is to make by itself.
    pub backup: Option<Failing>,
    pub unserved: Vec<UnservedQueue>,
    pub running: Vec<RunningTask>,
    pub slow_statements: Option<SlowStatements>,
}

/// Something that can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failing {
    pub since: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Files that it can still hold, of those that it could; 0 of 0: as many as fit.
    pub free_files: u64,
    pub total_files: u64,
}

/// A queue whose tasks wait, and that nobody serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnservedQueue {
    pub queue: QueueName,
    pub waiting: u32,
    pub since: Timestamp,
}

/// A try that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningTask {
    pub place: TaskPlace,
    pub started_at: Timestamp,
    /// How long those before it took at most; none: there were too few.
    pub longest: Option<Duration>,
}

/// Slow statements of the last [`SLOW_STATEMENTS_KEPT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowStatements {
    pub count: u64,
    pub longest: Duration,
    /// The beginning of the longest one; its values are not in it.
    pub statement: String,
}

/// What is to be told at `now`, the worst first.
pub fn warnings(facts: &Facts, now: Timestamp) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut tell = |kind, since, text: String| found.push(Warning { kind, text, since, task: None });
    let silence = now.since(facts.heartbeat);
    if silence >= HEARTBEAT_LIMIT {
        let text =
            format!("the scheduler's loop stands for {}: nothing starts; the server's log says why", Told(silence));
        tell(WarningKind::SchedulerLate, facts.heartbeat, text);
    }
    let behind = facts.scheduled_until.since(now);
    if behind >= CLOCK_BEHIND {
        let text = format!(
            "the clock is {} behind scheduled runs that there are: it was set back, or ahead before; their dags make none until then",
            Told(behind)
        );
        tell(WarningKind::ClockBehind, now, text);
    }
    if let Some(Failing { since }) = facts.database {
        let text = format!("the database can't be used{}; the server's log says why", Lasting(now.since(since)));
        tell(WarningKind::DatabaseFailing, since, text);
    }
    if let Some(Failing { since }) = facts.storage {
        let text = format!("object storage can't be used{}; the server's log says why", Lasting(now.since(since)));
        tell(WarningKind::StorageFailing, since, text);
    }
    if let Some(Disk { free_bytes, total_bytes, free_files, total_files }) = facts.disk {
        let (free, total) = (free_bytes >> 20, total_bytes >> 20);
        let text = if free_bytes < LEAST_FREE_BYTES || free_bytes < total_bytes / LEAST_FREE_PART {
            Some(format!("the disk of the data directory is nearly full: {free} of {total} MiB are free"))
        } else if free_files < total_files / LEAST_FREE_PART {
            Some(format!("the disk of the data directory takes only {free_files} more files (inodes) of {total_files}"))
        } else {
            None
        };
        if let Some(text) = text {
            tell(WarningKind::DiskNearlyFull, now, text);
        }
    }
    if let Some(Failing { since }) = facts.backup {
        let text = format!(
            "the server's backup can't be made{}, and is tried again; the server's log says why",
            Lasting(now.since(since))
        );
        tell(WarningKind::BackupFailing, since, text);
    }
    for UnservedQueue { queue, waiting, since } in &facts.unserved {
        let waited = now.since(*since);
        if waited >= UNSERVED {
            let tasks = if *waiting == 1 { "a task".to_owned() } else { format!("{waiting} tasks") };
            let text = format!("{tasks} of queue `{queue}` can't start for {}: no worker serves it", Told(waited));
            tell(WarningKind::QueueUnserved, *since, text);
        }
    }
    found.extend(slow_tasks(&facts.running, now));
    if let Some(SlowStatements { count, longest, statement }) = &facts.slow_statements {
        let many = if *count == 1 { "a statement".to_owned() } else { format!("{count} statements") };
        let (least, window) = (Told(SLOW_STATEMENT), Told(SLOW_STATEMENTS_KEPT));
        let text = format!(
            "{many} of the database took longer than {least} in the last {window}, {} at most: `{statement}`",
            Told(*longest)
        );
        found.push(Warning {
            kind: WarningKind::SlowStatements,
            text,
            since: now.before(SLOW_STATEMENTS_KEPT),
            task: None,
        });
    }
    found
}

/// Those that run far longer than they did before, the longest first.
fn slow_tasks(running: &[RunningTask], now: Timestamp) -> Vec<Warning> {
    let mut slow: Vec<_> = running
        .iter()
        .filter_map(|task| {
            let took = now.since(task.started_at);
            let longest = task.longest?;
            let is_slow = took >= SLOW_TASK && took >= longest.saturating_mul(SLOW_TASK_TIMES);
            is_slow.then_some((took, longest, task))
        })
        .collect();
    slow.sort_by_key(|(took, _, task)| (std::cmp::Reverse(*took), task.place.dag_id.clone()));
    let more = slow.len().saturating_sub(MAX_TASKS);
    let mut told: Vec<_> = slow
        .iter()
        .take(MAX_TASKS)
        .map(|(took, longest, RunningTask { place, started_at, .. })| {
            let TaskPlace { dag_id, run_id, task_id, .. } = place;
            let text = format!(
                "task `{task_id}` of run `{run_id}` of dag `{dag_id}` has been running for {}; of late it took {} at most",
                Told(*took),
                Told(*longest)
            );
            Warning { kind: WarningKind::SlowTask, text, since: *started_at, task: Some(place.clone()) }
        })
        .collect();
    if more > 0 {
        let since = slow[MAX_TASKS].2.started_at;
        let text = format!("{more} more tasks have been running far longer than of late");
        told.push(Warning { kind: WarningKind::SlowTask, text, since, task: None });
    }
    told
}

/// For how long it has been so; nothing of what has only begun.
struct Lasting(Duration);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            return Ok(());
        }
        write!(f, " for {}", Told(self.0))
    }
}

/// A duration for people, in its two largest units.
struct Told(Duration);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) if seconds < 10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, minutes) => write!(f, "{minutes} min"),
            (0, hours, minutes) => write!(f, "{hours} h {minutes} min"),
            (days, hours, _) => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    const NOW: i64 = 1_000_000;

    fn told(facts: &Facts) -> Vec<String> {
        warnings(facts, at(NOW))
            .into_iter()
            .map(|warning| format!("{}: {}", warning.kind.as_str(), warning.text))
            .collect()
    }

    fn well() -> Facts {
        Facts { heartbeat: at(NOW - 5), ..Facts::default() }
    }

    fn task(name: &str, ran_s: i64, longest_s: Option<u64>) -> RunningTask {
        let place = TaskPlace {
            dag_id: DagId::new("d").unwrap(),
            run_id: RunId::new("r").unwrap(),
            task_id: TaskId::new(name).unwrap(),
            map_index: -1,
        };
        RunningTask { place, started_at: at(NOW - ran_s), longest: longest_s.map(Duration::from_secs) }
    }

    #[test]
    fn who_is_well_is_told_nothing() {
        let disk = Some(Disk { free_bytes: 10 << 30, total_bytes: 100 << 30, free_files: 0, total_files: 0 });
        let queue = QueueName::new("gpu").unwrap();
        let unserved = vec![UnservedQueue { queue, waiting: 7, since: at(NOW - 59) }];
        let running = vec![task("new", 90_000, None), task("short", 299, Some(1)), task("usual", 899, Some(300))];
        let scheduled_until = at(NOW + 59);
        assert_eq!(told(&Facts { scheduled_until, disk, unserved, running, ..well() }), Vec::<String>::new());
    }

    #[test]
    fn what_fails_is_told_with_how_long() {
        let gpu = QueueName::new("gpu").unwrap();
        let facts = Facts {
            heartbeat: at(NOW - 30),
            scheduled_until: at(NOW + 7_200),
            database: Some(Failing { since: at(NOW - 90) }),
            storage: Some(Failing { since: at(NOW - 7_300) }),
            disk: Some(Disk { free_bytes: 511 << 20, total_bytes: 1 << 30, free_files: 9, total_files: 10 }),
            backup: Some(Failing { since: at(NOW - 2) }),
            unserved: vec![UnservedQueue { queue: gpu, waiting: 1, since: at(NOW - 60) }],
            running: vec![task("load", 900, Some(300))],
            slow_statements: Some(SlowStatements {
                count: 3,
                longest: Duration::from_millis(2_340),
                statement: "SELECT 1".into(),
            }),
        };
        assert_eq!(
            told(&facts),
            [
                "scheduler_late: the scheduler's loop stands for 30 s: nothing starts; the server's log says why",
                "clock_behind: the clock is 2 h 0 min behind scheduled runs that there are: it was set back, or ahead before; their dags make none until then",
                "database_failing: the database can't be used for 1 min; the server's log says why",
                "storage_failing: object storage can't be used for 2 h 1 min; the server's log says why",
                "disk_nearly_full: the disk of the data directory is nearly full: 511 of 1024 MiB are free",
                "backup_failing: the server's backup can't be made for 2.0 s, and is tried again; the server's log says why",
                "queue_unserved: a task of queue `gpu` can't start for 1 min: no worker serves it",
                "slow_task: task `load` of run `r` of dag `d` has been running for 15 min; of late it took 5 min at most",
                "slow_statements: 3 statements of the database took longer than 1.0 s in the last 10 min, 2.3 s at most: `SELECT 1`",
            ]
        );
        let kinds: Vec<_> = warnings(&facts, at(NOW)).iter().map(|warning| warning.kind).collect();
        assert_eq!(kinds, WarningKind::ALL);
    }

    #[test]
    fn what_has_only_begun_to_fail_is_told_without_how_long() {
        let failing = Some(Failing { since: at(NOW) });
        assert_eq!(
            told(&Facts { database: failing, storage: failing, backup: failing, ..well() }),
            [
                "database_failing: the database can't be used; the server's log says why",
                "storage_failing: object storage can't be used; the server's log says why",
                "backup_failing: the server's backup can't be made, and is tried again; the server's log says why",
            ]
        );
    }

    #[test]
    fn a_large_disk_is_nearly_full_by_its_part() {
        let disk = |free: u64, total: u64| Facts {
            disk: Some(Disk { free_bytes: free << 30, total_bytes: total << 30, free_files: 0, total_files: 0 }),
            ..well()
        };
        assert_eq!(told(&disk(49, 1_000)).len(), 1);
        assert_eq!(told(&disk(50, 1_000)).len(), 0);
    }

    #[test]
    fn a_disk_that_takes_no_more_files_is_full_whatever_its_bytes() {
        let disk = |free_files: u64| Facts {
            disk: Some(Disk { free_bytes: 10 << 30, total_bytes: 10 << 30, free_files, total_files: 1_000 }),
            ..well()
        };
        assert_eq!(
            told(&disk(49)),
            ["disk_nearly_full: the disk of the data directory takes only 49 more files (inodes) of 1000"]
        );
        assert_eq!(told(&disk(50)).len(), 0);
    }

    #[test]
    fn many_slow_tasks_are_few_lines_and_the_longest_come_first() {
        let running: Vec<_> = (0..25).map(|n| task(&format!("t{n}"), 1_000 + n, Some(10))).collect();
        let told = told(&Facts { running, ..well() });
        assert_eq!(told.len(), 11);
        assert!(told[0].contains("`t24`") && told[10].contains("15 more tasks"), "{told:?}");
    }
}
