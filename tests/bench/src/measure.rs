//! Counting and watching.

use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use airlock_tests::Server;

/// The sample below which `share` of all samples lie.
pub fn percentile(samples: &mut [Duration], share: f64) -> Duration {
    assert!(!samples.is_empty(), "nothing was measured");
    samples.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some thousand samples"
    )]
    let at = ((samples.len() - 1) as f64 * share).round() as usize;
    samples[at]
}

pub fn median(samples: &mut [Duration]) -> Duration {
    percentile(samples, 0.5)
}

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// How many of `count` things are done in a second, if they take `time`.
pub fn per_second(count: u32, time: Duration) -> f64 {
    f64::from(count) / time.as_secs_f64()
}

/// Microseconds since the epoch by the clock that guests have too.
pub fn wall_us() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "compared with what a guest of the same machine saw on this clock")]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    i64::try_from(since.as_micros()).expect("the clock is before the year 290000")
}

/// Memory of all processes of a server, shared pages counted once: the sum of their PSS.
pub fn pss_mib(server: &Server) -> f64 {
    let kib: u32 = server.processes().into_iter().filter_map(pss_kib).sum();
    f64::from(kib) / 1_024.0
}

/// None if the process is gone.
fn pss_kib(pid: u32) -> Option<u32> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// CPU time of all processes of a server, to 10 ms each. Threads that have ended count.
pub fn cpu(server: &Server) -> Duration {
    let ticks = |pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // User and system time are the 14th and 15th word; the second, in brackets, may be anything.
        let mut numbers = stat.rsplit(')').next()?.split_whitespace().skip(11);
        let mut next = || numbers.next()?.parse::<u64>().ok();
        Some(next()? + next()?)
    };
    Duration::from_millis(server.processes().into_iter().filter_map(ticks).sum::<u64>() * 10)
}

/// Does `work` and answers the most memory that the server had meanwhile, looked at ten times a second.
pub async fn watching_memory<T>(server: &Server, work: impl Future<Output = T>) -> (T, f64) {
    let mut most = pss_mib(server);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return (done, most.max(pss_mib(server))),
            () = tokio::time::sleep(Duration::from_millis(100)) => most = most.max(pss_mib(server)),
        }
    }
}

/// Does `act` and answers how long it took.
pub async fn timed<T>(act: impl Future<Output = T>) -> (T, Duration) {
    let begin = Instant::now();
    let done = act.await;
    (done, begin.elapsed())
}
