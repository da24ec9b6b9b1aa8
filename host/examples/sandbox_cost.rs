//! What the sandbox costs, measured through its real channels.
//!
//! ```text
//! cargo run --release --example sandbox_cost -- target/release/airlock target/wasm32-wasip2/task/guests.wasm
//! ```

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use airlock::{
    model::{ids::Digest, time::Timestamp},
    wire::{
        AttemptEnd, AttemptKey, Compiled, FrameReader, FrameWriter, FromRunner, Instance, Limits, RunAttempt, TapeMode,
        ToRunner,
    },
};
use anyhow::{Context, Result, bail};
use tokio::net::{
    UnixStream,
    unix::{OwnedReadHalf, OwnedWriteHalf},
};

const COMPONENT: Digest = Digest([1; 32]);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let airlock = args.next().context("the path of the binary is missing")?;
    let wasm = std::fs::read(args.next().context("the path of the guests is missing")?)?;

    let begin = Instant::now();
    let code = compile(&airlock, &wasm)?;
    println!("compile and describe {} KiB: {:?}", wasm.len() >> 10, begin.elapsed());

    let begin = Instant::now();
    let (ours, theirs) = StdUnixStream::pair()?;
    let mut child = Command::new(&airlock)
        .args(["run-child", "1000"])
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    ours.set_nonblocking(true)?;
    let (from, to) = UnixStream::from_std(ours)?.into_split();
    let mut runner = Runner { reader: FrameReader::new(from), writer: FrameWriter::new(to), last: 0 };
    let Some(FromRunner::Ready) = runner.reader.next().await? else { bail!("the runner is not ready") };
    println!("start of a runner with 1,000 slots: {:?}", begin.elapsed());
    runner.writer.push(&ToRunner::Load { component: COMPONENT, code })?;
    runner.go(100, 1).await?;

    let pid = child.id();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let cpu = cpu(pid)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("idle: {} KiB resident, {:?} of CPU in 5 s", resident_kib(pid)?, self::cpu(pid)?.saturating_sub(cpu));

    for (count, at_a_time) in [(5_000, 1), (50_000, 8), (100_000, 64), (100_000, 512)] {
        let (cpu, begin) = (self::cpu(pid)?, Instant::now());
        runner.go(count, at_a_time).await?;
        let (wall, cpu) = (begin.elapsed() / count, self::cpu(pid)?.saturating_sub(cpu));
        println!("{count} no-op attempts, {at_a_time} at a time: {wall:?} each, {:?} of the runner's CPU", cpu / count);
    }
    println!("after: {} KiB resident", resident_kib(pid)?);
    drop(runner);
    child.wait()?;
    Ok(())
}

fn compile(airlock: &str, wasm: &[u8]) -> Result<Vec<u8>> {
    let mut child =
        Command::new(airlock).arg("compile-child").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no stdin")?.write_all(wasm)?;
    let output = child.wait_with_output()?;
    match postcard::from_bytes(output.stdout.get(4..).context("no answer")?)? {
        Compiled::Ready { code, .. } => Ok(code),
        Compiled::Refused(text) => bail!(text),
    }
}

struct Runner {
    reader: FrameReader<OwnedReadHalf>,
    writer: FrameWriter<OwnedWriteHalf>,
    last: u64,
}

impl Runner {
    /// Runs `count` attempts that do nothing.
    async fn go(&mut self, count: u32, at_a_time: u32) -> Result<()> {
        let (mut begun, mut ended) = (0, 0);
        while ended < count {
            while begun < count && begun - ended < at_a_time {
                begun += 1;
                self.last += 1;
                self.writer.push(&ToRunner::Run(Box::new(attempt(AttemptKey(self.last)))))?;
            }
            self.writer.flush().await?;
            let mut frame = self.reader.next().await?;
            while let Some(FromRunner::Done { end, .. }) = frame {
                if end != AttemptEnd::Success(None) {
                    bail!("an attempt went wrong: {end:?}");
                }
                ended += 1;
                frame = self.reader.buffered()?;
            }
        }
        Ok(())
    }
}

fn attempt(attempt: AttemptKey) -> RunAttempt {
    RunAttempt {
        attempt,
        component: COMPONENT,
        entry: "noop".to_owned(),
        instance: Instance {
            dag_id: "bench".to_owned(),
            run_id: "manual__2026-01-01T00:00:00+00:00".to_owned(),
            task_id: "task".to_owned(),
            map_index: -1,
            try_number: 1,
            max_tries: 1,
            started_at: Timestamp::from_micros(0),
            logical_date: None,
            data_interval_start: None,
            data_interval_end: None,
            run_after: Timestamp::from_micros(0),
            next_run_after: None,
            timezone: "UTC".to_owned(),
            params: "{}".to_owned(),
            traceparent: None,
        },
        inputs: Vec::new(),
        limits: Limits {
            memory_bytes: 256 << 20,
            timeout_ms: Some(60_000),
            log_bytes: 16 << 20,
            host_calls: 1_000_000,
        },
        tape: TapeMode::Off,
    }
}

/// CPU time of a process, to 10 ms.
fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let mut numbers = stat.rsplit(')').next().context("no stat")?.split_whitespace().skip(11);
    let mut ticks = || -> Result<u64> { Ok(numbers.next().context("no time")?.parse()?) };
    Ok(Duration::from_millis((ticks()? + ticks()?) * 10))
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
